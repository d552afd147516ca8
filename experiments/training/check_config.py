"""Checks of a config before long work starts: one clear error for the first thing wrong."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax import linen as nn
from ml_collections import ConfigDict

from experiments.config import flatten
from experiments.data import DataSet
from experiments.models import LayerCost, costs_of_layers, make_model
from experiments.runs import RunFolder, read_run
from experiments.training.optimizers import OPTIMIZERS, SCHEDULES
from experiments.training.start_from_dense import check_source
from experiments.training.teacher import check_teacher
from experiments.training.trained_model import TrainedModel

_Rule = tuple[type, Callable[[Any], bool], str]


def _at_least(minimum: int) -> _Rule:
    return int, lambda value: value >= minimum, f"an integer of at least {minimum}"


def _number(low: float, high: float = math.inf, *, above: bool = False) -> _Rule:
    limit = f"{'above' if above else 'of at least'} {low:g}"
    limit += "" if high == math.inf else f" and below {high:g}"
    return float, lambda v: (v > low or (v == low and not above)) and v < high, f"a number {limit}"


def _one_of(names: tuple[str, ...]) -> _Rule:
    return str, lambda value: value in names, f"one of {', '.join(names)}"


_ANY_TEXT: _Rule = (str, lambda _: True, "a text")
_YES_OR_NO: _Rule = (bool, lambda _: True, "True or False")

_RULES: dict[str, _Rule] = {
    "seed": _at_least(0),
    "data.name": _ANY_TEXT,
    "data.data_dir": (str, lambda folder: folder != "None", "a folder, or empty for TFDS's own"),
    "data.num_validation": _at_least(0),
    "augmentation.shift": _at_least(0),
    "model.name": _ANY_TEXT,
    "model.num_classes": _at_least(1),
    "model.image_shape": (
        tuple,
        lambda shape: len(shape) == 3 and all(type(n) is int and n >= 1 for n in shape),
        "a tuple of 3 positive integers (height, width, channels)",
    ),
    "train.batch_size": _at_least(1),
    "train.num_epochs": _at_least(0),
    "train.label_smoothing": _number(0, 1),
    "train.eval_batch_size": _at_least(1),
    "train.log_every": _at_least(1),
    "train.checkpoint_every_epochs": _at_least(1),
    "train.test_at_end": _YES_OR_NO,
    "optimizer.name": _one_of(OPTIMIZERS),
    "optimizer.learning_rate": _number(0, above=True),
    "optimizer.schedule": _one_of(SCHEDULES),
    "optimizer.warmup_epochs": _number(0),
    "optimizer.weight_decay": _number(0),
    "optimizer.b1": _number(0, 1),
    "optimizer.b2": _number(0, 1),
    "optimizer.scale_factors": _YES_OR_NO,
    "optimizer.factor_gain": _number(0, above=True),
    "compression.source": _ANY_TEXT,
    "compression.reordered": _YES_OR_NO,
    "compression.weighted": _YES_OR_NO,
    "distillation.teacher": _ANY_TEXT,
    "distillation.weight": (float, lambda weight: 0 < weight <= 1, "a number above 0, at most 1"),
    "distillation.temperature": _number(0, above=True),
}


class CheckedConfig(NamedTuple):
    """What was read and built while a config was checked.

    Attributes:
      model: the model.
      costs: what its layers cost.
      folder: the folder of the run, not opened yet; None where it is not known.
      source: the run that this one compresses, if any; None of a run that is finished.
      teacher: the run that this one learns from, if any; likewise.
    """

    model: nn.Module
    costs: list[LayerCost]
    folder: RunFolder | None
    source: TrainedModel | None
    teacher: TrainedModel | None


def checked_config(
    config: ConfigDict, workdir: str | os.PathLike[str] | None = None
) -> CheckedConfig:
    """Checks every field, every layer against the input that it will see, teacher and source.

    Args:
      config: the whole config.
      workdir: the folder of the run, where known. Of a run that is finished there, teacher and
        source may be gone.

    Raises:
      ValueError: naming the first field that is missing, unknown or wrong, and what it may be.
    """
    check_fields(config)
    folder = None if workdir is None else RunFolder(workdir, config)
    source = teacher = None
    if folder is None or not folder.holds_result_of_config:  # else neither is needed any more
        source, teacher = read_source_and_teacher(config, workdir)
    return CheckedConfig(*build_model(config), folder, source, teacher)


def check_fields(config: ConfigDict) -> None:
    """Checks every field for itself and against the others, but for what the layers are made of.

    Raises:
      ValueError: naming the first field that is missing, unknown or wrong, and what it may be.
    """
    fields = flatten(config)
    for name, (kind, is_valid, requirement) in _RULES.items():
        if name not in fields:
            raise ValueError(f"config.{name} is missing; set it to {requirement}.")
        value = fields[name]
        kinds = (int, float) if kind is float else kind
        is_kind = isinstance(value, kinds) and (kind is bool or not isinstance(value, bool))
        if not is_kind or not is_valid(value):
            raise ValueError(f"config.{name} is {value!r}; it must be {requirement}.")
    for name in fields:
        if name not in _RULES and not name.startswith("model."):
            raise ValueError(f"config.{name} is not a field of an experiment; remove it.")
    if config.augmentation.shift >= min(config.model.image_shape[:2]):
        raise ValueError(
            f"config.augmentation.shift is {config.augmentation.shift}; it must be below the side "
            f"of an image of config.model.image_shape, {config.model.image_shape}."
        )
    for name in ("batch_size", "eval_batch_size"):
        if config.train[name] % jax.device_count():
            raise ValueError(
                f"config.train.{name} is {config.train[name]}, which the {jax.device_count()} "
                "devices cannot share equally; take a multiple of their number."
            )
    if not (config.train.num_epochs or config.compression.source):
        raise ValueError(
            "config.train.num_epochs is 0, which is for decomposing config.compression.source and "
            "no more; set it to at least 1."
        )
    if config.train.num_epochs and config.optimizer.warmup_epochs >= config.train.num_epochs:
        raise ValueError(
            f"config.optimizer.warmup_epochs is {config.optimizer.warmup_epochs:g}; it must be "
            f"below config.train.num_epochs, which is {config.train.num_epochs}."
        )


def build_model(config: ConfigDict) -> tuple[nn.Module, list[LayerCost]]:
    """Builds the config's model, and counts what its layers cost.

    Raises:
      ValueError: if a field of the model is wrong, or a layer does not fit its input.
    """
    try:
        model = make_model(config.model)
        return model, costs_of_layers(model, config.model.image_shape)
    except ValueError as error:
        raise ValueError(f"config.model is wrong: {error}") from error


def read_source_and_teacher(
    config: ConfigDict,
    workdir: str | os.PathLike[str] | None = None,
    known: TrainedModel | None = None,
) -> tuple[TrainedModel | None, TrainedModel | None]:
    """Reads the config's source and its teacher, if it has them, and checks that they suit it.

    A folder that is both is read once.

    Args:
      config: the whole config.
      workdir: the folder of the run, where known.
      known: a run that was read already, and may be one of them.

    Raises:
      ValueError: naming the run, what is wrong with it, and a remedy.
    """
    found = {known.run.folder.resolve(): known} if known else {}

    def trained(field: str, name: str) -> TrainedModel | None:
        if not name:
            return None
        folder = Path(name).expanduser().resolve()
        if workdir and Path(workdir).expanduser().resolve().is_relative_to(folder):
            raise ValueError(
                f"config.{field} is {name!r}, and the run would be written into that folder; take "
                "another --workdir."
            )
        if folder not in found:
            found[folder] = TrainedModel(read_run(name, field=field))
        return found[folder]

    if teacher := trained("distillation.teacher", config.distillation.teacher):
        check_teacher(config, teacher.run)
    if source := trained("compression.source", config.compression.source):
        check_source(config, source.run)
    return source, teacher


def check_data(config: ConfigDict, data: DataSet) -> None:
    """Checks the config against the data set that it names.

    Raises:
      ValueError: naming the field that does not suit the data.
    """
    found: dict[str, Any] = {
        "image_shape": tuple(data.train.images.shape[1:]),
        "num_classes": data.num_classes,
    }
    for name, value in found.items():
        if (wanted := config.model[name]) != value:
            raise ValueError(
                f"config.model.{name} is {wanted}, but data set {data.name} has {value}; set it "
                "to that, or take another data set."
            )
    size = len(data.train) - config.data.num_validation
    if config.train.batch_size > size:
        raise ValueError(
            f"config.train.batch_size is {config.train.batch_size}, but {max(0, size)} of "
            f"{data.name}'s {len(data.train)} training images are left after "
            f"config.data.num_validation={config.data.num_validation}; lower one of the two."
        )
