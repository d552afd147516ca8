"""The best models for their size: Pareto fronts, what stays near dense, large reductions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from experiments.reporting.compare.groups import Comparison, Group
from experiments.reporting.compare.series import Series
from experiments.reporting.wording import percent, points

TOLERANCES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Points of error above dense that a headline may accept."""
MARGINS = (0.0, 0.3, 0.5, 0.7)
"""Points of error above dense."""
REDUCTIONS = (("parameters", 0.73, "whole model"), ("layer_parameters", 0.99, "layer"))
"""Reductions that the paper reports: which size, the fraction that is saved, of what."""


def pareto_front(groups: Iterable[Group], size: str, split: str) -> list[Group]:
    """Returns the groups that no other beats in both size and mean error, smallest first."""
    front: list[Group] = []
    by_size = sorted(groups, key=lambda g: (g.sizes[size], g.error(split).mean))
    for group in by_size:
        if not front or group.error(split).mean < front[-1].error(split).mean:
            front.append(group)
    return front


def default_tolerance(comparison: Comparison, split: str) -> float:
    """Returns about a tenth of the dense error in percentage points, one of TOLERANCES."""
    dense = comparison.dense(split)
    if dense is None:
        return 0.5
    tenth = max(dense.error(split).mean * 100 / 10, 1e-9)
    return min(TOLERANCES, key=lambda tolerance: abs(math.log(tolerance / tenth)))


def smallest_within(
    groups: Iterable[Group], dense: Group, tolerance: float, size: str, split: str
) -> Group | None:
    """Returns the smallest group whose mean error is at most `tolerance` points above dense's."""
    limit = dense.error(split).mean + tolerance / 100 + 1e-12
    near = [group for group in groups if group.error(split).mean <= limit]
    return min(near, key=lambda g: (g.sizes[size], g.error(split).mean), default=None)


class Requirement(NamedTuple):
    """What is wanted, and what meets it best.

    Attributes:
      text: the requirement in words.
      kfc: the KFC group; None if none meets it.
      low_rank: the low-rank group, likewise.
    """

    text: str
    kfc: Group | None
    low_rank: Group | None


def near_dense(series: Series, split: str) -> list[Requirement]:
    """Returns the smallest models near dense, and the lowest errors at large reductions.

    Required are the fewest parameters within each of MARGINS of the dense model, and the lowest
    error (on this split, of all structures that qualify) with at least each of REDUCTIONS. What
    nothing meets is left out; without a dense model there is nothing.
    """
    if series.dense is None:
        return []
    requirements = [
        (f"at most {points(margin)} above dense", _smallest(series.dense, margin, split))
        for margin in MARGINS
    ]
    requirements += [
        (f"{percent(reduction, 0)} fewer in the {where}", _lowest(size, reduction, split))
        for size, reduction, where in REDUCTIONS
    ]
    found = [
        Requirement(text, choose(series.kfc), choose(series.low_rank))
        for text, choose in requirements
    ]
    return [one for one in found if one.kfc or one.low_rank]


def _smallest(dense: Group, margin: float, split: str) -> Callable[[Sequence[Group]], Group | None]:
    return lambda groups: smallest_within(groups, dense, margin, "parameters", split)


def _lowest(size: str, reduction: float, split: str) -> Callable[[Sequence[Group]], Group | None]:
    def lowest(groups: Sequence[Group]) -> Group | None:
        enough = [group for group in groups if group.reduction(size) >= reduction]
        return min(enough, key=lambda group: group.error(split).mean, default=None)

    return lowest
