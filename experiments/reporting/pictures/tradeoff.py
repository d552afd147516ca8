"""The picture of error against size: a curve for every method, and the Pareto front by name."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.reporting.compare.groups import Comparison, Group
from experiments.reporting.compare.methods import DENSE, Method, in_order
from experiments.reporting.compare.near_dense import pareto_front
from experiments.reporting.pictures.style import (
    add_title,
    error_axis,
    label_points,
    look,
    size_axis,
)
from experiments.reporting.wording import short_count, shortened

_MOST_NAMES = 9
_NAME_HEIGHT = 0.17  # inches


def tradeoff_figure(
    comparison: Comparison, split: str, sizes: Sequence[str] = ("parameters", "flops")
) -> Figure:
    """Draws error against every size of `sizes`, one panel each.

    A point is the mean over seeds, its bar the sample standard deviation. A method's curve joins
    its own best points; its other points are pale. Numbered points are on the Pareto front of all
    methods, and their structures stand below the panel. The dense error is a line.
    """
    groups = comparison.at_best(split)
    fronts = [pareto_front(groups, size, split) for size in sizes]
    rows = max(min(len(front), _MOST_NAMES) for front in fronts)
    names_height = _NAME_HEIGHT * (rows + 1.8)
    height = 4.6 + names_height
    with look():
        figure = Figure(figsize=(5.4 * len(sizes), height))
        panels = figure.subplots(1, len(sizes), squeeze=False)[0]
        figure.subplots_adjust(
            left=0.62 / (5.4 * len(sizes)) * 1.15,
            right=1 - 0.02,
            top=1 - 0.78 / height,
            bottom=(names_height + 0.55) / height,
            wspace=0.2,
        )
        for axes, size, front in zip(panels, sizes, fronts, strict=True):
            _draw(axes, comparison, groups, size, split, front)
            _name(axes, figure, comparison, front, size, split)
        methods = in_order(group.method for group in groups)
        add_title(figure, f"{comparison.title}: {split} error against size")
        figure.legend(
            handles=[*map(_legend_entry, methods), _front_entry()],
            loc="upper left",
            bbox_to_anchor=(0.006, 1 - 0.32 / height),
            ncols=len(methods) + 1,
            columnspacing=1.4,
            handletextpad=0.5,
        )
    return figure


def _draw(
    axes: Axes,
    comparison: Comparison,
    groups: Sequence[Group],
    size: str,
    split: str,
    front: Sequence[Group],
) -> None:
    shown = _not_squeezing(groups, size)
    size_axis(axes, [group.sizes[size] for group in shown], comparison.size_label(size))
    error_axis(axes, _ends(groups, split), f"{split} error")
    for method in in_order(group.method for group in shown):
        own = [group for group in shown if group.method == method]
        best = pareto_front(own, size, split)
        if len(best) > 1:
            axes.plot(
                [group.sizes[size] for group in best],
                [group.error(split).mean for group in best],
                color=method.color,
                linestyle=method.line,
                linewidth=1.3,
                zorder=2,
            )
        for group in own:
            _point(axes, group, size, split, is_pale=group not in best)
    for group in front:
        if group in shown:
            axes.plot(
                group.sizes[size],
                group.error(split).mean,
                marker="o",
                markersize=10.5,
                markerfacecolor="none",
                markeredgecolor="#111111",
                markeredgewidth=0.9,
                zorder=5,
            )
    if dense := comparison.dense(split):
        mean = dense.error(split).mean
        axes.axhline(mean, color=DENSE.color, linewidth=1, zorder=1)
        if dense not in shown:
            axes.annotate(
                f"dense, {short_count(dense.sizes[size])} \N{RIGHTWARDS ARROW}",
                (1, mean),
                xycoords=axes.get_yaxis_transform(),
                xytext=(0, -3),
                textcoords="offset points",
                ha="right",
                va="top",
                fontsize=8,
            )


def _not_squeezing(groups: Sequence[Group], size: str) -> list[Group]:
    """Returns the groups without dense, if dense is over twice as large as all others."""
    others = [group for group in groups if group.method != DENSE]
    if not others:
        return list(groups)
    limit = 2 * max(group.sizes[size] for group in others)
    return [group for group in groups if group.sizes[size] <= limit]


def _point(axes: Axes, group: Group, size: str, split: str, *, is_pale: bool) -> None:
    error, method = group.error(split), group.method
    axes.errorbar(
        group.sizes[size],
        error.mean,
        yerr=error.std,
        color=method.color,
        marker=method.marker,
        markersize=9 if method == DENSE else 5.5,
        markeredgecolor="white",
        markeredgewidth=0.6,
        elinewidth=1,
        capsize=2,
        alpha=0.4 if is_pale else 1,
        zorder=3 if is_pale else 4,
    )


def _name(
    axes: Axes,
    figure: Figure,
    comparison: Comparison,
    front: Sequence[Group],
    size: str,
    split: str,
) -> None:
    """Numbers the points of the front, and lists them below the panel."""
    named = _thinned(front)
    unit = "FLOPs" if size == "flops" else "parameters"
    lines = [("", "on the Pareto front", unit, f"{split} error")]
    numbered = []
    for number, group in enumerate(named, 1):
        error = group.error(split)
        numbered.append((str(number), group.sizes[size], error.mean))
        text = f"{error.mean:.2%}" + (f" ± {error.std * 100:.2f}" if error.std is not None else "")
        lines.append((str(number), group.label, short_count(group.sizes[size]), text))
    points = [(group.sizes[size], group.error(split).mean) for group in comparison.at_best(split)]
    label_points(axes, numbered, points)
    if len(front) > len(named):
        lines.append(("", f"and {len(front) - len(named)} more, in the table", "", ""))
    box = axes.get_position()
    width, height = figure.get_size_inches()
    for row, line in enumerate(lines):
        y = box.y0 - (0.62 + _NAME_HEIGHT * row) / height
        columns = (
            (0.0, "left"),
            (0.18 / width, "left"),
            (0.76 * box.width, "right"),
            (box.width, "right"),
        )
        for (x, side), text in zip(columns, line, strict=True):
            figure.text(
                box.x0 + x,
                y,
                shortened(text, 44),
                ha=side,
                va="top",
                fontsize=8 if len(text) <= 34 else 7,
                color="#555555" if row == 0 else "#111111",
            )


def _thinned(front: Sequence[Group]) -> list[Group]:
    """Returns at most `_MOST_NAMES` groups, evenly from the first to the last."""
    if len(front) <= _MOST_NAMES:
        return list(front)
    step = (len(front) - 1) / (_MOST_NAMES - 2)
    return [front[round(i * step)] for i in range(_MOST_NAMES - 1)]


def _ends(groups: Sequence[Group], split: str) -> list[float]:
    """Returns the ends of all error bars that lie above zero, and the means."""
    errors = [group.error(split) for group in groups]
    ends = [e.mean + sign * (e.std or 0) for e in errors for sign in (-1, 0, 1)]
    means = [e.mean for e in errors]
    # A bar that reaches far below its mean would stretch a logarithmic axis for nothing.
    return [end for end in ends if end >= 0.6 * min(means)]


def _legend_entry(method: Method) -> Line2D:
    return Line2D(
        [],
        [],
        color=method.color,
        marker=method.marker,
        linestyle=method.line,
        markersize=9 if method == DENSE else 6,
        markeredgecolor="white",
        label=method.label,
    )


def _front_entry() -> Line2D:
    return Line2D(
        [],
        [],
        linestyle="none",
        marker="o",
        markersize=11,
        markerfacecolor="none",
        markeredgecolor="#111111",
        label="Pareto front",
    )
