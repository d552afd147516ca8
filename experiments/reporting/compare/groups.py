"""Runs of one data set and model, grouped over seeds, side by side."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import pandas as pd

from experiments.reporting.compare.methods import (
    DENSE,
    NARROW_DENSE,
    Method,
    in_order,
    is_fully_connected,
    method_of,
    structure_of,
    way_of,
)
from experiments.reporting.compare.setting_names import setting_names
from experiments.reporting.trials import MEASURES, SIZES, SPLITS
from experiments.reporting.wording import settings_text
from experiments.runs import Layer

_WIDTH = "model.hidden"
_SAME = ["structure", "settings"]  # runs that agree in these differ in their seed alone


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """All runs of one data set and model.

    Attributes:
      data: name of the data set.
      model: name of the model.
      layer_names: the layers that differ between runs.
      runs: the table of finished runs, with the `method`, `structure`, `settings` (what else
        distinguishes a run within the comparison; mostly empty), `setting_name` (the same in a few
        words), `trunk` (those of the model) and sizes of the compared layers.
      groups: a row for the runs that differ in their seed alone, by method, then by size: the
        columns of `runs`, where a measure is the mean, and beside it are its sample standard
        deviation `_std` (NaN for one seed) and its number of seeds `_n`. `is_best` says that no
        other settings of the structure have a lower error, judged on validation where all have one.
      repeated: finished runs that repeat the config and the seed of another, and do not count.
    """

    data: str
    model: str
    layer_names: tuple[str, ...]
    runs: pd.DataFrame
    groups: pd.DataFrame
    repeated: pd.DataFrame

    sizes: ClassVar[tuple[str, ...]] = (*SIZES, "layer_parameters")
    """What is meant by size: columns, each with `dense_` and `_reduction` of its own."""

    @property
    def title(self) -> str:
        """Name for people; backticks, which mark code in the report's sentences, are not in it."""
        return f"{self.model} on {self.data}".replace("`", "'")

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits with errors to compare, the one to judge by first."""
        return tuple(split for split in SPLITS if len(self.at_best(split)))

    def on(self, split: str) -> pd.DataFrame:
        """Returns the groups with an error on the split.

        They have that `error` and the one `before` training, with their `_std` and `_n`.
        """
        return self._by_split[split]

    def at_best(self, split: str) -> pd.DataFrame:
        """Returns the groups with an error on the split, every structure at its best settings."""
        groups = self.on(split)
        return groups[groups.is_best]

    def dense(self, split: str) -> Any:
        """Returns the row of the dense baseline, or None."""
        groups = self.at_best(split)
        return first(groups[groups.method == DENSE])

    def dense_by_trunk(self, split: str) -> dict[str, Any]:
        """Returns the row of the dense baseline of every trunk that has one."""
        groups = self.on(split)
        dense = groups[groups.method == DENSE]
        return {row.trunk: row for row in dense[is_best(dense, ["trunk"])].itertuples()}

    @functools.cached_property
    def _by_split(self) -> dict[str, pd.DataFrame]:
        """The groups, as `on` returns them: this is asked for hundreds of times."""
        names = [f"{what}{part}" for what in ("error", "before") for part in ("", "_std", "_n")]
        return {
            split: self.groups.assign(
                **{name: self.groups[f"{split}_{name}"] for name in names}
            ).dropna(subset="error")
            for split in SPLITS
        }

    @property
    def methods(self) -> list[Method]:
        """The methods of its groups, in the order of reports."""
        return in_order(self.groups.method)

    @property
    def has_settings(self) -> bool:
        """Whether runs differ in more than layers and seeds."""
        return bool((self.groups.settings != "").any())

    def size_label(self, size: str) -> str:
        """Returns a size's name for people."""
        layers = " and ".join(self.layer_names).replace("`", "'")
        return {
            "parameters": "total parameters",
            "flops": "FLOPs per example",
            "layer_parameters": f"parameters of {layers}",
        }[size]


def compare(runs: pd.DataFrame) -> list[Comparison]:
    """Groups the finished runs of the table over seeds, apart for every data set and model.

    Those of which no run has an error are left out.
    """
    tasks = runs[runs.state == "done"].groupby(["data", "model"], sort=False)
    found = [_compare_task(data, model, own) for (data, model), own in tasks]
    return [comparison for comparison in found if comparison.splits]


def first(rows: pd.DataFrame) -> Any:
    """Returns the first row, its columns as attributes, or None."""
    if not len(rows):
        return None
    # Not a named tuple, whose class takes a millisecond to make.
    return SimpleNamespace(Index=rows.index[:1].item(), **rows.iloc[0].to_dict())


def is_best(groups: pd.DataFrame, among: Sequence[str]) -> pd.Series:
    """Says of every group whether it has the lowest error of those that agree in some columns.

    The error is that on the validation split, if all of these have one.
    """
    # Choosing settings on the test split would flatter the methods that tried more of them.
    rivals = [groups[column] for column in among]
    validated = groups.validation_error.notna().groupby(rivals).transform("all")
    judged = groups.validation_error.where(validated, groups.test_error).fillna(math.inf)
    best = judged.groupby(rivals).idxmin()
    return pd.Series(groups.index.isin(best), index=groups.index)


def with_layers(runs: pd.DataFrame, layers: Sequence[tuple[Layer, ...]]) -> pd.DataFrame:
    """Returns the table with the structure and the sizes of these layers, for every row some."""

    def total(attribute: str) -> list[int]:
        return [sum(getattr(layer, attribute) for layer in own) for own in layers]

    runs = runs.assign(
        layers=layers,
        structure=[structure_of(own) for own in layers],
        layer_parameters=total("parameters"),
        dense_layer_parameters=total("dense_parameters"),
        layer_flops=total("flops"),
    )
    reductions = {
        f"{size}_reduction": (1 - runs[size] / runs[f"dense_{size}"]).fillna(0.0)
        for size in Comparison.sizes
    }
    return runs.assign(**reductions)


def _compare_task(data: str, model: str, runs: pd.DataFrame) -> Comparison:
    names = _compared_layers(runs.layers)
    layers = [tuple(layer for layer in own if layer.name in names) for own in runs.layers]
    methods = [method_of(own) for own in layers]
    narrow = _narrow_widths(runs.fields, methods)
    methods = [NARROW_DENSE if width else m for m, width in zip(methods, narrow, strict=True)]
    structures = [
        f"{structure_of(own)}, {width} features" if width else structure_of(own)
        for own, width in zip(layers, narrow, strict=True)
    ]
    # A width that the structures tell is no setting.
    told = (_WIDTH,) if any(narrow) else ()
    fields = _differing(runs.fields, (*(f"model.{name}." for name in names), *told))
    trunks = [{f: v for f, v in own.items() if f.startswith("model.")} for own in fields]
    runs = with_layers(runs, layers).astype(
        {s: int for s in (*SIZES, *map("dense_{}".format, SIZES))}
    )
    runs = runs.assign(
        method=methods,
        structure=structures,
        family=[method.family for method in methods],
        label=[m.label_of(s) for m, s in zip(methods, structures, strict=True)],
        special=fields,
        settings=[settings_text(own) for own in fields],
        setting_name=setting_names(fields),
        trunk=[settings_text(own).replace("model.", "") for own in trunks],
    )
    # Without a seed nothing tells two runs to be the same.
    is_repeated = runs.duplicated([*_SAME, "seed"]) & runs.seed.notna()
    return Comparison(
        data, model, names, runs[~is_repeated], _groups(runs[~is_repeated]), runs[is_repeated]
    )


def _narrow_widths(
    configs: Sequence[Mapping[str, Any]], methods: Sequence[Method]
) -> Sequence[int]:
    """Returns the width of every narrow dense model, and 0 for all others.

    Dense models are narrow, and not the dense one to compare with, where all of another width are
    dense and there are wider models. If small layers vary in width too, it is a setting of all.
    """
    widths = [int(own.get(_WIDTH, 0)) for own in configs]
    are_wide = [width == max(widths) for width in widths]
    narrow = [m for m, is_wide in zip(methods, are_wide, strict=True) if not is_wide]
    if any(method != DENSE for method in narrow):
        return [0] * len(widths)
    return [0 if is_wide else width for width, is_wide in zip(widths, are_wide, strict=True)]


def _groups(runs: pd.DataFrame) -> pd.DataFrame:
    by_group = runs.groupby(_SAME, sort=False)
    measured = by_group[list(MEASURES)].agg(["mean", "std", "count"])
    parts = {"mean": "", "std": "_std", "count": "_n"}
    measured.columns = [f"{measure}{parts[part]}" for measure, part in measured.columns]
    counts = measured.filter(regex="_n$")
    measured[counts.columns] = counts.replace(0, math.nan)
    groups = runs.drop_duplicates(_SAME).drop(columns=list(MEASURES))
    groups = groups.merge(measured.assign(records=by_group.record.agg(tuple)), on=_SAME)
    place = {method: place for place, method in enumerate(in_order(groups.method))}
    groups = groups.assign(place=groups.method.map(place), is_best=is_best(groups, ["structure"]))
    return groups.sort_values(["place", "parameters", "structure"], ignore_index=True)


def _compared_layers(models: Iterable[Sequence[Layer]]) -> tuple[str, ...]:
    """Returns the names of the fully connected layers that differ; of all, if none does."""
    made: dict[str, set[tuple[str, str]]] = {}
    for layer in (layer for layers in models for layer in layers):
        if is_fully_connected(layer):
            made.setdefault(layer.name, set()).add(way_of(layer))
    differing = tuple(name for name, ways in made.items() if len(ways) > 1)
    replaced = tuple(n for n, ways in made.items() if any(kind != DENSE.key for kind, _ in ways))
    return differing or replaced or tuple(made)


def _differing(configs: pd.Series, but: tuple[str, ...]) -> list[dict[str, Any]]:
    """Returns of every config the fields in which they differ, without those that begin so."""
    texts = pd.DataFrame([{f: json.dumps(v) for f, v in own.items()} for own in configs])
    texts = texts.fillna("null")
    differing = sorted(f for f in texts if not f.startswith(but) and texts[f].nunique() > 1)
    return [{field: own[field] for field in differing if field in own} for own in configs]
