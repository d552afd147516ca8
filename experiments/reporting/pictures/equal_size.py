"""The picture of shapes at equal size: one panel for every budget of layer parameters."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments.reporting.compare import DENSE, Comparison, Group
from experiments.reporting.pictures.style import add_title, error_axis, look
from experiments.reporting.wording import count, short_count, shortened

_WIDTH_OF_A_BUDGET = 1.25  # its largest layer over its smallest
_MOST_BUDGETS = 8
_MOST_GROUPS = 10


def budgets(comparison: Comparison, split: str) -> list[list[Group]]:
    """Returns the compressed groups by equal layer size, smallest first; at least two in each.

    Groups are of equal size if their layers differ by 25% at most.
    """
    groups = [group for group in comparison.at_best(split) if group.method != DENSE]
    found: list[list[Group]] = []
    for group in sorted(groups, key=_layer_size):
        if found and _layer_size(group) <= _WIDTH_OF_A_BUDGET * _layer_size(found[-1][0]):
            found[-1].append(group)
        else:
            found.append([group])
    return [budget for budget in found if len(budget) > 1]


def budget_figure(comparison: Comparison, split: str) -> Figure | None:
    """Draws the errors of all structures at equal layer sizes; None if no two are of equal size."""
    found = budgets(comparison, split)[:_MOST_BUDGETS]
    if not found:
        return None
    shown = [sorted(b, key=lambda g: g.error(split).mean)[:_MOST_GROUPS] for b in found]
    heights = [0.55 + 0.22 * len(budget) for budget in shown]
    total = sum(heights) + 1.1
    with look():
        figure = Figure(figsize=(8, total))
        panels = figure.subplots(
            len(shown), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
        )[:, 0]
        longest = max(len(_name(group)) for budget in shown for group in budget)
        figure.subplots_adjust(
            left=min(0.065 * longest + 0.25, 4.2) / 8,
            right=0.97,
            top=1 - 0.75 / total,
            bottom=0.5 / total,
            hspace=0.55 / (sum(heights) / len(heights)),
        )
        dense = comparison.dense(split)
        ends: list[float] = []
        for axes, budget, everything in zip(panels, shown, found, strict=True):
            for row, group in enumerate(budget):
                error = group.error(split)
                ends += [error.mean, error.mean + (error.std or 0)]
                axes.errorbar(
                    error.mean,
                    row,
                    xerr=error.std,
                    color=group.method.color,
                    marker=group.method.marker,
                    markersize=6,
                    markeredgecolor="white",
                    markeredgewidth=0.6,
                    elinewidth=1.2,
                    capsize=2.5,
                )
            axes.set_yticks(range(len(budget)), [_name(group) for group in budget], fontsize=8)
            axes.set_ylim(len(budget) - 0.4, -0.6)
            axes.grid(visible=False, axis="y")
            axes.tick_params(axis="y", length=0)
            left_out = len(everything) - len(budget)
            axes.set_title(
                _span(everything) + (f"; the best {_MOST_GROUPS}" if left_out else ""), fontsize=9
            )
            if dense:
                axes.axvline(dense.error(split).mean, color=DENSE.color, linewidth=1, zorder=1)
                ends.append(dense.error(split).mean)
        error_axis(panels[-1], ends, f"{split} error" + (", line: dense" if dense else ""), "x")
        size = comparison.size_label("layer_parameters")
        add_title(figure, f"{comparison.title}: structures at about equal {size}")
    return figure


def _layer_size(group: Group) -> int:
    return group.sizes["layer_parameters"]


def _name(group: Group) -> str:
    return f"{shortened(group.label, 44)}  {short_count(_layer_size(group))}"


def _span(budget: Sequence[Group]) -> str:
    low, high = _layer_size(budget[0]), _layer_size(budget[-1])
    sizes = count(low) if low == high else f"{count(low)} to {count(high)}"
    return f"{sizes} parameters ({budget[0].reduction('layer_parameters'):.1%} fewer than dense)"
