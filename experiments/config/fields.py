"""A config as the flat list of its fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

NEUTRAL_FIELDS = ("data.data_dir", "train.log_every", "train.checkpoint_every_epochs")
"""Fields that change neither the model nor its numbers, so that a run may go on with others."""


def completed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a run's flat fields with those that configs did not have yet when it was written.

    They have the values that say what was done then, so that such a run goes on, and stands beside
    new ones in a report.
    """
    layers = (found[1] for name in fields if (found := re.fullmatch(r"(model\.\w+)\.kind", name)))
    later: dict[str, Any] = {f"{layer}.frozen": False for layer in layers}
    if fields.get("model.name") == "lenet5":
        later["model.hidden"] = 500
    return {**later, **fields}


def restored(content: Mapping[str, Any]) -> ConfigDict:
    """Returns the config of a run, or its `model` part alone, from what its JSON holds.

    Lists are the tuples that they were, and the model has all fields that it has now.
    """
    config = ConfigDict(_with_tuples(content))
    now = completed(flatten(config))
    config.model.update_from_flattened_dict(
        {name.removeprefix("model."): now[name] for name in now if name.startswith("model.")}
    )
    return config


def flatten(tree: Mapping[str, Any] | ConfigDict, prefix: str = "") -> dict[str, Any]:
    """Returns the fields of a nested config by their dotted names, such as `model.fc1.kind`."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping | ConfigDict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _with_tuples(value: Any) -> Any:
    """Returns the value with tuples for the lists that JSON made of them."""
    if isinstance(value, dict):
        return {name: _with_tuples(one) for name, one in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value
