"""The networks by name; their fully connected layers come from the config."""

from __future__ import annotations

import dataclasses

from flax import linen as nn
from ml_collections import ConfigDict

from experiments.models.convnet import ConvNet
from experiments.models.layers import NO_LAYER, LayerSpec
from experiments.models.lenet5 import LeNet5

_MAY_BE_LEFT_OUT = ("fc1",)
"""Layers behind which another fully connected one can stand for them, in every model."""

_MODELS = {"lenet5": LeNet5, "convnet": ConvNet}


def make_model(config: ConfigDict) -> nn.Module:
    """Builds the model that `config` (the config's `model` part) describes.

    The fields of the config are the attributes of the model; every attribute that is a `LayerSpec`
    is a part of its own. `image_shape` alone is no attribute: it says what the model will see.

    Raises:
      ValueError: if the model is unknown, or one of its fields is wrong, missing or unknown.
    """
    if config.name not in _MODELS:
        raise ValueError(f"model.name is {config.name!r}; take one of {', '.join(_MODELS)}.")
    model = _MODELS[config.name]
    attributes = {}
    for field in dataclasses.fields(model):
        if field.name in ("name", "parent"):  # Flax's own
            continue
        is_layer = field.type in ("LayerSpec", LayerSpec)
        if field.name not in config:
            what = "layer" if is_layer else "field"
            raise ValueError(f"model.{field.name} is missing; {config.name} has this {what}.")
        value = config[field.name]
        if is_layer:
            try:
                value = LayerSpec(**value)
                if value.kind == NO_LAYER and field.name not in _MAY_BE_LEFT_OUT:
                    raise ValueError(
                        f"kind is {NO_LAYER!r}, but no other layer could stand for this one; only "
                        f"{', '.join(_MAY_BE_LEFT_OUT)} may be left out."
                    )
            except (TypeError, ValueError) as error:
                raise ValueError(f"model.{field.name}: {error}") from error
        attributes[field.name] = value
    if unknown := config.keys() - attributes.keys() - {"name", "image_shape"}:
        raise ValueError(f"model.{min(unknown)} is not a field of {config.name}; remove it.")
    return model(**attributes)
