"""What of a series stays near its dense model, and what is left of it at large reductions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from experiments.reporting.compare.groups import Group
from experiments.reporting.compare.series import Series
from experiments.reporting.sentences.headline import smallest_within
from experiments.reporting.wording import percent, points

MARGINS = (0.0, 0.3, 0.5, 0.7)
"""Points of error above dense."""
REDUCTIONS = (("parameters", 0.73, "whole model"), ("layer_parameters", 0.99, "layer"))
"""Reductions that the paper reports: which size, the fraction that is saved, of what."""


class Wish(NamedTuple):
    """What is wanted, and what meets it best.

    Attributes:
      text: the wish in words.
      kfc: the KFC group; None if none meets it.
      low_rank: the low-rank group, likewise.
    """

    text: str
    kfc: Group | None
    low_rank: Group | None


def near_dense(series: Series, split: str) -> list[Wish]:
    """Returns the smallest models near dense, and the lowest errors at large reductions.

    The wishes are: the fewest parameters within each of MARGINS of the dense model, and the lowest
    error (on this split, of all structures that qualify) with at least each of REDUCTIONS. Those
    that nothing meets are left out; without a dense model there are none.
    """
    if series.dense is None:
        return []
    wishes = [
        (f"at most {points(margin)} above dense", _smallest(series.dense, margin, split))
        for margin in MARGINS
    ]
    wishes += [
        (f"{percent(least, 0)} fewer in the {where}", _lowest(size, least, split))
        for size, least, where in REDUCTIONS
    ]
    found = [Wish(text, choose(series.kfc), choose(series.low_rank)) for text, choose in wishes]
    return [wish for wish in found if wish.kfc or wish.low_rank]


def _smallest(dense: Group, margin: float, split: str) -> Callable[[Sequence[Group]], Group | None]:
    return lambda groups: smallest_within(groups, dense, margin, "parameters", split)


def _lowest(size: str, least: float, split: str) -> Callable[[Sequence[Group]], Group | None]:
    def lowest(groups: Sequence[Group]) -> Group | None:
        enough = [group for group in groups if group.reduction(size) >= least]
        return min(enough, key=lambda group: group.error(split).mean, default=None)

    return lowest
