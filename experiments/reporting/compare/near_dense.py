"""Which models stay near their dense model, which none beats, and what is required of them."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from experiments.reporting.compare.groups import Comparison, first
from experiments.reporting.compare.series import Series
from experiments.reporting.wording import percent, points

TOLERANCES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Points of error above dense that a reader may choose from."""
MARGINS = (0.0, 0.3, 0.5, 0.7)
"""Points of error above dense that the table of requirements has."""
REDUCTIONS = (("parameters", 0.73, "whole model"), ("layer_parameters", 0.99, "layer"))
"""Reductions that the paper reports: which size, the fraction that is saved, of what."""


def pareto_front(groups: pd.DataFrame, size: str) -> pd.DataFrame:
    """Returns the groups that no other beats in both size and mean error, smallest first."""
    by_size = groups.sort_values([size, "error"])
    best_so_far = by_size.error.cummin().shift(fill_value=math.inf)
    return by_size[by_size.error < best_so_far]


def default_tolerance(comparison: Comparison, split: str) -> float:
    """Returns about a tenth of the dense error in percentage points, one of TOLERANCES."""
    dense = comparison.dense(split)
    if dense is None:
        return 0.5
    tenth = max(dense.error * 100 / 10, 1e-9)
    return min(TOLERANCES, key=lambda tolerance: abs(math.log(tolerance / tenth)))


def smallest_within(groups: pd.DataFrame, dense: Any, tolerance: float, size: str) -> Any:
    """Returns the smallest group whose error is at most `tolerance` points above dense's, a row."""
    near = groups[groups.error <= dense.error + tolerance / 100 + 1e-12]
    return first(near.sort_values([size, "error"]))


def smallest_near_dense(series: Series) -> pd.DataFrame:
    """Returns the smallest models near dense, and the lowest errors at large reductions.

    Required are the fewest parameters within each of MARGINS of the dense model, and the lowest
    error (of all structures that qualify) with at least each of REDUCTIONS. What nothing meets is
    left out; without a dense model there is nothing.

    Returns:
      a row for each requirement: what is `wanted`, in words, and the columns of the groups that
      meet it best with `_kfc` and `_low_rank`, missing where none does.
    """
    if series.dense is None:
        return pd.DataFrame()
    near = [f"at most {points(margin)} above dense" for margin in MARGINS]
    large = [f"{percent(saved, 0)} fewer in the {where}" for _, saved, where in REDUCTIONS]

    def best(groups: pd.DataFrame) -> pd.DataFrame:
        found = [smallest_within(groups, series.dense, m, "parameters") for m in MARGINS]
        found += [lowest_error(groups[groups[f"{s}_reduction"] >= r]) for s, r, _ in REDUCTIONS]
        return pd.DataFrame([vars(row) if row else {} for row in found], columns=groups.columns)

    both = [best(series.kfc).add_suffix("_kfc"), best(series.low_rank).add_suffix("_low_rank")]
    return pd.concat(both, axis=1).dropna(how="all").assign(wanted=pd.Series(near + large))


def lowest_error(groups: pd.DataFrame) -> Any:
    """Returns the row of the group with the lowest error, or None."""
    return first(groups.sort_values("error", kind="stable"))
