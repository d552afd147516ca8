"""Series: the groups of a comparison that were made in one way and differ in their layers alone."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import pandas as pd

from experiments.reporting.compare.groups import Comparison, is_best, with_layers
from experiments.reporting.compare.methods import DENSE, NARROW_DENSE, way_of
from experiments.reporting.trials import STARTS

_KEY = ["trunk", "replaced", "start", "epochs"]


class Series(NamedTuple):
    """Compressed models that differ in the structures of the same layers alone.

    Attributes:
      trunk: the fields of the model, not of the compared layers, that not all models of the
        comparison share, as text.
      replaced: the layers that are not dense.
      start: one of STARTS.
      epochs: that they were trained for.
      groups: one for every structure, at its best learning rate, smallest layers first.
      dense: the row of the dense model with the same trunk, where there is one.
    """

    trunk: str
    replaced: tuple[str, ...]
    start: str
    epochs: int
    groups: pd.DataFrame
    dense: Any

    @property
    def kfc(self) -> pd.DataFrame:
        """Those whose layers are all Kronecker sums."""
        return self.groups[self.groups.family == "KFC"]

    @property
    def low_rank(self) -> pd.DataFrame:
        """Those whose layers are all of low rank."""
        return self.groups[self.groups.family == "low-rank"]

    @property
    def has_both(self) -> bool:
        """Whether it has both Kronecker sums and low rank."""
        return {"KFC", "low-rank"} <= set(self.groups.family)


@functools.lru_cache(maxsize=8)
def series_of(comparison: Comparison, split: str) -> list[Series]:
    """Returns the series of all compressed groups with an error on the split.

    They are in the order of their trunks, then of the layers that they replace, then of STARTS. To
    low-rank layers the order of hidden units makes no difference: those that were decomposed
    without it stand beside the Kronecker sums with it, too.
    """
    groups = comparison.on(split)
    trunks = list(dict.fromkeys(groups.trunk))
    groups = groups[~groups.method.isin([DENSE, NARROW_DENSE])]
    # Without its dense layers, which other groups replace.
    layers = [
        tuple(layer for layer in own if way_of(layer)[0] != DENSE.key) for own in groups.layers
    ]
    groups = with_layers(groups, layers)
    groups["replaced"] = [tuple(layer.name for layer in own) for own in layers]
    groups = _with_unordered(groups)
    groups = groups[is_best(groups, [*_KEY, "structure"])].sort_values(
        "layer_parameters", kind="stable"
    )
    dense = comparison.dense_by_trunk(split)

    def place(series: Series) -> tuple[Any, ...]:
        trunk, replaced, start, epochs, *_ = series
        return trunks.index(trunk), len(replaced), replaced, STARTS.index(start), epochs

    found = [Series(*key, own, dense.get(key[0])) for key, own in groups.groupby(_KEY, sort=False)]
    return sorted(found, key=place)


def started_groups(comparison: Comparison, split: str) -> pd.DataFrame:
    """Returns all groups of the structures that were decomposed by some run, start by start.

    Of each start they are at all their settings, not at the best ones. They are in the order of the
    comparison's groups, then of STARTS. There are none if nothing was decomposed.
    """
    groups = comparison.on(split)
    groups = groups[groups.structure.isin(groups.structure[groups.before.notna()])]
    return groups.assign(
        order=pd.factorize(groups.structure)[0], start_order=groups.start.map(STARTS.index)
    ).sort_values(["order", "start_order"])


def _with_unordered(groups: pd.DataFrame) -> pd.DataFrame:
    """Adds low rank to the series of reordered sums; its own go, if they have nothing else."""
    plain = groups.start.str.replace(", reordered", "")
    reordered = groups[plain != groups.start]
    series = reordered[_KEY].drop_duplicates().assign(reordered=reordered.start)
    series["start"] = plain
    beside = groups.reset_index().merge(series, on=_KEY)
    only_low_rank = (
        (beside.family == "low-rank").groupby([beside[c] for c in _KEY]).transform("all")
    )
    groups = groups.drop(beside["index"][only_low_rank])
    added = beside[beside.family == "low-rank"].assign(start=beside.reordered)
    both = [*_KEY, "structure"]
    is_there = added.set_index(both).index.isin(reordered.set_index(both).index)
    return pd.concat([added[~is_there], groups], ignore_index=True)
