"""Trials of one data set and model, grouped over seeds, side by side."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.reporting.compare.methods import (
    DENSE,
    LOW_RANK,
    Method,
    in_order,
    method_of,
    structure_of,
)
from experiments.reporting.trials.spread import Spread
from experiments.reporting.trials.trial import SPLITS, Layer, Trial

SIZES = ("parameters", "flops", "layer_parameters")


@dataclasses.dataclass(frozen=True)
class Group:
    """Finished trials that differ in their seed alone.

    Attributes:
      method: how their fully connected layers are made.
      structure: the same in full.
      fields: what else distinguishes them within the comparison, by the config's fields; mostly
        empty.
      trials: one for each seed.
      layers: the layers that the comparison is about.
      is_best: whether no other settings of the same structure have a lower error; judged on the
        validation split where there is one.
    """

    method: Method
    structure: str
    fields: Mapping[str, Any]
    trials: tuple[Trial, ...]
    layers: tuple[Layer, ...]
    is_best: bool = True

    @property
    def settings(self) -> str:
        """The fields as text."""
        return settings_text(self.fields)

    @property
    def trunk(self) -> str:
        """The fields in which its model, not its compared layers, is special, as text."""
        model = {f: v for f, v in self.fields.items() if f.startswith("model.")}
        return settings_text(model).replace("model.", "")

    @property
    def label(self) -> str:
        """Its structure as a name that stands alone, settings not in it."""
        return f"low rank, {self.structure}" if self.method == LOW_RANK else self.structure

    @property
    def sizes(self) -> dict[str, int]:
        """Parameters of the model, FLOPs of an example, parameters of the compared layers."""
        outcome = self.trials[0].outcome
        layer_parameters = sum(layer.parameters for layer in self.layers)
        return dict(zip(SIZES, (outcome.parameters, outcome.flops, layer_parameters), strict=True))

    @property
    def dense_sizes(self) -> dict[str, int]:
        """The same with dense layers in their place."""
        outcome = self.trials[0].outcome
        layer_parameters = sum(layer.dense_parameters for layer in self.layers)
        sizes = (outcome.dense_parameters, outcome.dense_flops, layer_parameters)
        return dict(zip(SIZES, sizes, strict=True))

    @property
    def layer_flops(self) -> int:
        """FLOPs of the compared layers for one example."""
        return sum(layer.flops for layer in self.layers)

    def reduction(self, size: str) -> float:
        """Returns the fraction of a dense model's size that is saved."""
        dense = self.dense_sizes[size]
        return 1 - self.sizes[size] / dense if dense else 0.0

    def error(self, split: str) -> Spread | None:
        """Returns the fraction of errors on a split, over the seeds evaluated on it."""
        errors = [trial.outcome.errors.get(split) for trial in self.trials]
        errors = [error for error in errors if error is not None]
        return Spread.of(errors) if errors else None

    @property
    def seconds(self) -> float:
        """Mean wall time of a trial."""
        return statistics.fmean(trial.outcome.seconds for trial in self.trials)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All groups of one data set and model.

    Attributes:
      data: name of the data set.
      model: name of the model.
      layer_names: the layers that differ between trials.
      groups: by method, then by size.
      repeated: finished trials that repeat the config and the seed of another, and do not count.
    """

    data: str
    model: str
    layer_names: tuple[str, ...]
    groups: tuple[Group, ...]
    repeated: tuple[Trial, ...]

    @property
    def title(self) -> str:
        """Name for people; backticks, which mark code in the report's sentences, are not in it."""
        return f"{self.model} on {self.data}".replace("`", "'")

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits with errors to compare, the one to judge by first."""
        return tuple(split for split in SPLITS if self.at_best(split))

    def at_best(self, split: str) -> list[Group]:
        """Returns the groups with an error on the split, every structure at its best settings."""
        return [group for group in self.groups if group.is_best and group.error(split)]

    def dense(self, split: str) -> Group | None:
        """Returns the dense baseline, or None."""
        return next((g for g in self.at_best(split) if g.method == DENSE), None)

    def dense_by_trunk(self, split: str) -> dict[str, Group]:
        """Returns the dense baseline of every trunk that has one."""
        found: dict[str, list[Group]] = {}
        for group in self.groups:
            if group.method == DENSE and group.error(split):
                found.setdefault(group.trunk, []).append(group)
        return {trunk: best_of(groups) for trunk, groups in found.items()}

    @property
    def has_settings(self) -> bool:
        """Whether trials differ in more than layers and seeds."""
        return any(group.settings for group in self.groups)

    def size_label(self, size: str) -> str:
        """Returns a size's name for people."""
        layers = " and ".join(self.layer_names).replace("`", "'")
        return {
            "parameters": "total parameters",
            "flops": "FLOPs per example",
            "layer_parameters": f"parameters of {layers}",
        }[size]


def settings_text(fields: Mapping[str, Any]) -> str:
    """Returns fields of a config as text: `seed=1 model.channels=24-24,48-48`."""
    return " ".join(f"{field}={value_text(value)}" for field, value in fields.items())


def value_text(value: Any, *, between: str = ",") -> str:
    """Returns a field's value as text, nested lists as `24-24,48-48`."""
    if not isinstance(value, list | tuple):
        return str(value)
    return between.join(value_text(part, between="-") for part in value)


def compare(trials: Iterable[Trial]) -> list[Comparison]:
    """Groups finished trials over seeds, apart for every data set and model."""
    by_task: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        if trial.outcome:
            by_task.setdefault(trial.task, []).append(trial)
    return [_compare_task(task, done) for task, done in by_task.items()]


def _compare_task(task: tuple[str, str], trials: list[Trial]) -> Comparison:
    layer_names = _compared_layers(trials)
    layer_fields = tuple(f"model.{name}." for name in layer_names)
    names = sorted({name for trial in trials for name in trial.settings})
    differing = [
        field
        for field in names
        if not field.startswith(layer_fields)
        and len({json.dumps(trial.settings.get(field)) for trial in trials}) > 1
    ]
    seeds: dict[tuple[str, str], dict[object, Trial]] = {}
    fields_of: dict[str, dict[str, Any]] = {}
    repeated = []
    for trial in trials:
        fields = {name: trial.settings[name] for name in differing if name in trial.settings}
        settings = settings_text(fields)
        fields_of[settings] = fields
        group = seeds.setdefault((structure_of(_layers(trial, layer_names)), settings), {})
        # Without a seed nothing tells two trials to be the same.
        seed = object() if trial.seed is None else trial.seed
        if seed in group:
            repeated.append(trial)
        else:
            group[seed] = trial
    groups = []
    for (structure, settings), members in seeds.items():
        layers = _layers(next(iter(members.values())), layer_names)
        own = tuple(members.values())
        groups.append(Group(method_of(layers), structure, fields_of[settings], own, layers))
    order = in_order(group.method for group in groups)
    groups.sort(key=lambda g: (order.index(g.method), g.sizes["parameters"], g.structure))
    return Comparison(*task, layer_names, _mark_best(groups), tuple(repeated))


def _compared_layers(trials: Sequence[Trial]) -> tuple[str, ...]:
    """Returns the names of the fully connected layers that differ; of all, if none does."""
    made: dict[str, set[tuple[str, str]]] = {}
    for trial in trials:
        for layer in trial.outcome.layers:
            # Normalisation and the like have no structure.
            if layer.structure and layer.kind != "conv":
                made.setdefault(layer.name, set()).add((layer.kind, layer.structure))
    differing = tuple(name for name, ways in made.items() if len(ways) > 1)
    replaced = tuple(n for n, ways in made.items() if any(kind != "dense" for kind, _ in ways))
    return differing or replaced or tuple(made)


def _layers(trial: Trial, names: Sequence[str]) -> tuple[Layer, ...]:
    return tuple(layer for layer in trial.outcome.layers if layer.name in names)


def _mark_best(groups: Sequence[Group]) -> tuple[Group, ...]:
    rivals: dict[str, list[Group]] = {}
    for group in groups:
        rivals.setdefault(group.structure, []).append(group)
    best = {structure: best_of(same) for structure, same in rivals.items()}
    return tuple(dataclasses.replace(g, is_best=best[g.structure] is g) for g in groups)


def best_of(groups: Sequence[Group]) -> Group:
    """Returns the one with the lowest mean error: on the validation split, if all have one."""
    # Choosing settings on the test split would flatter the methods that tried more of them.
    validated = all(group.error("validation") for group in groups)
    errors = [group.error("validation" if validated else "test") for group in groups]
    means = [error.mean if error else math.inf for error in errors]
    return groups[means.index(min(means))]
