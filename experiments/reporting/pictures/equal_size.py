"""The picture of shapes at equal size: one panel for every budget of layer parameters."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from experiments.reporting.compare import DENSE, Comparison
from experiments.reporting.pictures.style import error_axis, look, panels
from experiments.reporting.wording import count, short_count, shortened

_WIDTH = 8  # inches
_WIDTH_OF_A_BUDGET = 1.25  # its largest layer over its smallest
_MOST_BUDGETS = 8
_MOST_GROUPS = 10


def budgets(comparison: Comparison, split: str) -> list[pd.DataFrame]:
    """Returns the compressed groups by equal layer size, smallest first; at least two in each.

    Groups are of equal size if their layers differ by 25% at most.
    """
    groups = comparison.at_best(split)
    groups = groups[groups.method != DENSE].sort_values("layer_parameters", kind="stable")
    smallest: list[int] = []
    for size in groups.layer_parameters:
        is_new = not smallest or size > _WIDTH_OF_A_BUDGET * smallest[-1]
        smallest.append(size if is_new else smallest[-1])
    return [budget for _, budget in groups.groupby(smallest) if len(budget) > 1]


@look()
def budget_figure(comparison: Comparison, split: str) -> Figure | None:
    """Draws the errors of all structures at equal layer sizes; None if no two are of equal size."""
    found = budgets(comparison, split)[:_MOST_BUDGETS]
    if not found:
        return None
    shown = [b.sort_values("error", kind="stable").head(_MOST_GROUPS) for b in found]
    heights = [0.55 + 0.22 * len(budget) for budget in shown]
    figure, grid = panels(
        f"{comparison.title}: structures at about equal "
        f"{comparison.size_label('layer_parameters')}",
        (_WIDTH, sum(heights) + 1.1),
        (len(shown), 1),
        sharex=True,
        height_ratios=heights,
    )
    dense = comparison.dense(split)
    for axes, budget, everything in zip(grid[:, 0], shown, found, strict=True):
        for row, group in enumerate(budget.itertuples()):
            axes.errorbar(
                group.error,
                row,
                xerr=group.error_std,
                color=group.method.color,
                marker=group.method.marker,
                markeredgecolor="white",
            )
        names = [_name(group) for group in budget.itertuples()]
        axes.set_yticks(range(len(budget)), names, fontsize=8)
        axes.set_ylim(len(budget) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        is_whole = len(everything) == len(budget)
        axes.set_title(_span(everything) + ("" if is_whole else f"; the best {_MOST_GROUPS}"))
        if dense:
            axes.axvline(dense.error, color=DENSE.color, linewidth=1, zorder=1)
    drawn = pd.concat(shown)
    ends = [*drawn.error, *(drawn.error + drawn.error_std).dropna()]
    label = f"{split} error"
    if dense:
        ends.append(dense.error)
        label += ", line: dense"
    error_axis(grid[-1, 0], ends, label, "x")
    return figure


def _name(group: Any) -> str:
    return f"{shortened(group.label, 44)}  {short_count(group.layer_parameters)}"


def _span(budget: pd.DataFrame) -> str:
    low, high = budget.layer_parameters.iloc[[0, -1]]
    sizes = count(low) if low == high else f"{count(low)} to {count(high)}"
    saved = budget.layer_parameters_reduction.iloc[0]
    return f"{sizes} parameters ({saved:.1%} fewer than dense)"
