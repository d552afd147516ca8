"""The picture of error against size: a curve for every method, and the Pareto front by name."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting.compare import DENSE, Comparison, near_dense
from experiments.reporting.pictures.style import (
    RING,
    add_legend,
    add_strip,
    draw_errors,
    draw_ring,
    entry,
    error_axis,
    fence,
    label_points,
    look,
    panels,
    size_axis,
)
from experiments.reporting.wording import short_count, shortened

_WIDTH = 5.4  # inches of a panel
_MOST_NAMES = 9  # of the front, and of what is beyond the scale
_NAME_HEIGHT = 0.17  # inches


@look()
def tradeoff_figure(
    comparison: Comparison, split: str, sizes: Sequence[str] = ("parameters", "flops")
) -> Figure:
    """Draws error against every size of `sizes`, one panel each.

    A point is the mean over seeds, its bar the sample standard deviation. A method's curve joins
    its own best points; its other points are pale. Numbered points are on the Pareto front of all
    methods, and their structures stand below the panel. The dense error is a line. Errors so high
    that they would flatten all others are hollow marks in a strip at the top; they have letters,
    and their structures and errors stand below the panel, too.
    """
    groups = comparison.at_best(split)
    highest = fence(groups.error)
    fronts = [near_dense.pareto_front(groups, size) for size in sizes]
    shown = [_fitting(groups, size) for size in sizes]
    named = [_thinned(front).assign(mark=_marks(string.digits[1:])) for front in fronts]
    out = [
        own[(own.error > highest) & ~own.index.isin(front.index)].sort_values("error")
        for own, front in zip(shown, named, strict=True)
    ]
    beyond = [own.assign(mark=_marks("abcdefghi")) for own in out]
    lists = [
        _lines(named[i], fronts[i], size, ("on the Pareto front", f"{split} error"))
        + _lines(beyond[i].head(_MOST_NAMES), beyond[i], size, ("beyond the scale", ""))
        for i, size in enumerate(sizes)
    ]
    names_height = _NAME_HEIGHT * (max(map(len, lists)) + 0.8)
    width, height = _WIDTH * len(sizes), 4.6 + names_height
    figure, grid = panels(
        f"{comparison.title}: {split} error against size",
        (width, height),
        (1, len(sizes)),
        (0.713, 0.02 * width, 0.78, names_height + 0.55),
        wspace=0.2,
    )
    for i, (axes, size) in enumerate(zip(grid[0], sizes, strict=True)):
        size_axis(axes, shown[i][size], comparison.size_label(size))
        error_axis(axes, _ends(groups[groups.error <= highest]), f"{split} error")
        is_out = shown[i].error > highest
        strip = add_strip(axes) if is_out.any() else None
        own = shown[i].assign(y=shown[i].error.mask(is_out, strip))
        _draw(axes, comparison, own, size)
        for point in own[own.index.isin(fronts[i].index)].itertuples():
            draw_ring(axes, getattr(point, size), point.y)
        _draw_dense(axes, comparison, own, size, split)
        marks = pd.concat([named[i], beyond[i]]).mark.dropna()
        marked = own.join(marks, how="inner")
        labels = list(zip(marked.mark, marked[size], marked.y, strict=True))
        label_points(axes, labels, zip(own[size], own.y, strict=True))
        _write(axes, lists[i])
    methods = [method for method in comparison.methods if (groups.method == method).any()]
    entries = [
        entry(m.label, m.color, m.marker, m.line, markersize=9 if m == DENSE else 6)
        for m in methods
    ]
    add_legend(figure, [*entries, entry("Pareto front", markersize=11, **RING)], len(entries) + 1)
    return figure


def _draw(axes: Axes, comparison: Comparison, groups: pd.DataFrame, size: str) -> None:
    """Draws the points and the curves of all methods, in the strip where `y` is no error."""
    for method in comparison.methods:
        own = groups[groups.method == method]
        best = near_dense.pareto_front(own, size)
        near = best[best.y == best.error]
        look_of_lines = {"color": method.color, "linestyle": method.line, "linewidth": 1.3}
        if len(near) > 1:
            axes.plot(near[size], near.error, zorder=2, **look_of_lines)
        own = own.assign(is_pale=~own.index.isin(best.index), is_out=own.y != own.error)
        for (is_pale, is_out), points in own.groupby(["is_pale", "is_out"]):
            draw_errors(
                axes,
                points.assign(error=points.y, error_std=points.error_std.mask(points.is_out)),
                size,
                color=method.color,
                linestyle="none",
                marker=method.marker,
                markersize=9 if method == DENSE else 5.5,
                markerfacecolor="white" if is_out else method.color,
                markeredgecolor=method.color if is_out else "white",
                markeredgewidth=1.2 if is_out else 0.6,
                capsize=2,
                alpha=0.4 if is_pale else 1,
                zorder=3 if is_pale else 4,
            )


def _draw_dense(
    axes: Axes, comparison: Comparison, shown: pd.DataFrame, size: str, split: str
) -> None:
    """Draws the line of the dense error, and where its point is if that is not shown."""
    dense = comparison.dense(split)
    if dense is None:
        return
    axes.axhline(dense.error, color=DENSE.color, linewidth=1, zorder=1)
    if dense.Index not in shown.index:
        axes.annotate(
            f"dense, {short_count(getattr(dense, size))} \N{RIGHTWARDS ARROW}",
            (1, dense.error),
            xycoords=axes.get_yaxis_transform(),
            xytext=(0, -3),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=8,
        )


def _fitting(groups: pd.DataFrame, size: str) -> pd.DataFrame:
    """Returns the groups without dense, if dense is over twice as large as all others."""
    others = groups[groups.method != DENSE]
    return groups[groups[size] <= 2 * others[size].max()] if len(others) else groups


def _marks(signs: str) -> Callable[[pd.DataFrame], list[str | None]]:
    """Returns what gives the rows of a frame these signs, and none to those after them."""
    return lambda rows: (list(signs) + [None] * len(rows))[: len(rows)]


def _lines(
    named: pd.DataFrame, everything: pd.DataFrame, size: str, head: tuple[str, str]
) -> list[tuple[str, ...]]:
    """Returns mark, name, size and error of the points, below a head; empty if there are none."""
    if not len(named):
        return []
    about, of = head
    lines = [("", about, ("FLOPs" if size == "flops" else "parameters") if of else "", of)]
    for row in named.itertuples():
        std = "" if pd.isna(row.error_std) else f" ± {row.error_std * 100:.2f}"
        error = f"{row.error:.2%}{std}"
        lines.append((row.mark, row.label, short_count(getattr(row, size)), error))
    if more := len(everything) - len(named):
        lines.append(("", f"and {more} more, in the table", "", ""))
    return lines


def _write(axes: Axes, lines: Sequence[tuple[str, ...]]) -> None:
    """Writes the lines below the panel."""
    figure, box = axes.figure, axes.get_position()
    width, height = figure.get_size_inches()
    sides = (
        (0.0, "left"),
        (0.18 / width, "left"),
        (0.76 * box.width, "right"),
        (box.width, "right"),
    )
    for row, line in enumerate(lines):
        y = box.y0 - (0.62 + _NAME_HEIGHT * row) / height
        for (x, side), text in zip(sides, line, strict=True):
            figure.text(
                box.x0 + x,
                y,
                shortened(text, 44),
                ha=side,
                va="top",
                fontsize=8 if len(text) <= 34 else 7,
                color="#111111" if line[0] else "#555555",
            )


def _thinned(front: pd.DataFrame) -> pd.DataFrame:
    """Returns at most `_MOST_NAMES` groups, evenly from the first to the last."""
    if len(front) <= _MOST_NAMES:
        return front
    step = (len(front) - 1) / (_MOST_NAMES - 2)
    return front.iloc[[round(i * step) for i in range(_MOST_NAMES - 1)]]


def _ends(groups: pd.DataFrame) -> list[float]:
    """Returns the ends of all error bars that lie above zero, and the means."""
    std = groups.error_std.fillna(0.0)
    ends = pd.concat([groups.error - std, groups.error, groups.error + std])
    # A bar that reaches far below its mean would stretch a logarithmic axis for nothing.
    return list(ends[ends >= 0.6 * groups.error.min()])
