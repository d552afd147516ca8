"""The picture of error against size: a curve for every method, and the Pareto front by name."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting.compare import DENSE, Comparison, near_dense
from experiments.reporting.pictures.style import (
    RING,
    add_legend,
    entry,
    error_axis,
    fence,
    look,
    panels,
    size_axis,
)
from experiments.reporting.wording import short_count, shortened

_WIDTH = 5.4  # inches of a panel
_NAME_HEIGHT = 0.17  # inches
_COLUMNS = ((0, "left"), (0.04, "left"), (0.76, "right"), (1, "right"))  # of names, of the panel
_NUMBERS, _LETTERS = list("123456789"), list("abcdefghi")


@look()
def tradeoff_figure(
    comparison: Comparison, split: str, sizes: Sequence[str] = ("parameters", "flops")
) -> Figure:
    """Draws error against every size of `sizes`, one panel each.

    A point is the mean over seeds, its bar the sample standard deviation. A method's curve joins
    its own best points; its other points are pale. Numbered points are on the Pareto front of all
    methods, and their structures stand below the panel. The dense error is a line. Errors so high
    that they would flatten all others are hollow marks on a line at the top; they have letters, and
    their structures and errors stand below the panel, too.
    """
    title = f"{comparison.title}: {split} error against size"
    figure, grid = panels(title, (_WIDTH * len(sizes), 5), (1, len(sizes)))
    lines = [
        _panel(axes, comparison, split, size) for axes, size in zip(grid[0], sizes, strict=True)
    ]
    figure.set_figheight(5 + _NAME_HEIGHT * max(lines))
    shown = comparison.at_best(split).method
    entries = [
        entry(m.label, m.color, m.marker, m.line, markersize=9 if m == DENSE else 6)
        for m in comparison.methods
        if (shown == m).any()
    ]
    add_legend(figure, [*entries, entry("Pareto front", **RING, markersize=11)], len(entries) + 1)
    return figure


def _panel(axes: Axes, comparison: Comparison, split: str, size: str) -> int:
    """Draws a panel, and returns how many lines of names stand below it."""
    groups = comparison.at_best(split)
    front = near_dense.pareto_front(groups, size)
    others = groups[groups.method != DENSE]
    # A dense point so large that it would squeeze all others is left out.
    shown = groups[groups[size] <= 2 * others[size].max()] if len(others) else groups
    size_axis(axes, shown[size], comparison.size_label(size))
    error_axis(axes, _ends(groups[groups.error <= fence(groups.error)]), f"{split} error")
    top = axes.get_ylim()[1]
    shown = shown.assign(y=shown.error.clip(upper=top), is_out=shown.error > top)
    _draw(axes, comparison, shown, size)
    if shown.is_out.any():
        axes.axhline(top, color="#777777", linewidth=0.8, linestyle=(0, (8, 4)))
    ringed = shown[shown.index.isin(front.index)]
    kind = {"color": "#111111", "linestyle": "none", "clip_on": False, "zorder": 5}
    axes.plot(ringed[size], ringed.y, **RING, **kind, markersize=10.5)
    _draw_dense(axes, comparison, shown, size, split)
    named = _thinned(front)
    named = named.assign(mark=_NUMBERS[: len(named)])
    out = shown[shown.is_out & ~shown.index.isin(named.index)].sort_values("error")
    beyond = out.head(len(_LETTERS)).assign(mark=_LETTERS[: len(out)])
    # Nothing is both smaller and better than a point of the front, so that there is room for its
    # mark, and not much is near above it: there every other one stands, as neighbours would meet.
    for point in shown.join(pd.concat([named, beyond]).mark, how="inner").itertuples():
        is_even = point.mark in {*_NUMBERS[1::2], *_LETTERS[1::2]}
        aside = (9, 9) if is_even else (-9, -9)
        axes.annotate(
            point.mark,
            (getattr(point, size), point.y),
            (0, 22 if is_even else 12) if point.is_out else aside,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            fontweight="bold",
            zorder=6,
        )
    lines = _lines(named, len(front), size, ("on the Pareto front", f"{split} error"))
    lines += _lines(beyond, len(out), size, ("beyond the scale", ""))
    for row, line in enumerate(lines):
        for (x, side), text in zip(_COLUMNS, line, strict=True):
            axes.annotate(
                shortened(text, 44),
                (x, 0),
                (0, -44 - 72 * _NAME_HEIGHT * row),
                xycoords="axes fraction",
                textcoords="offset points",
                ha=side,
                va="top",
                fontsize=8 if len(text) <= 34 else 7,
                color="#111111" if line[0] else "#555555",
            )
    return len(lines)


def _draw(axes: Axes, comparison: Comparison, groups: pd.DataFrame, size: str) -> None:
    """Draws the points and the curves of all methods."""
    for method in comparison.methods:
        own = groups[groups.method == method]
        best = near_dense.pareto_front(own, size)
        near = best[~best.is_out]
        if len(near) > 1:
            axes.plot(near[size], near.error, method.line, color=method.color, zorder=2)
        own = own.assign(is_pale=~own.index.isin(best.index))
        for (is_pale, is_out), points in own.groupby(["is_pale", "is_out"]):
            axes.errorbar(
                size,
                "y",
                yerr=None if is_out else "error_std",
                data=points,
                color=method.color,
                linestyle="none",
                marker=method.marker,
                markersize=9 if method == DENSE else 5.5,
                markerfacecolor="white" if is_out else method.color,
                markeredgecolor=method.color if is_out else "white",
                markeredgewidth=1.2 if is_out else 0.6,
                elinewidth=1,
                alpha=0.4 if is_pale else 1,
                clip_on=not is_out,
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


def _lines(
    named: pd.DataFrame, number: int, size: str, head: tuple[str, str]
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
    if more := number - len(named):
        lines.append(("", f"and {more} more, in the table", "", ""))
    return lines


def _thinned(front: pd.DataFrame) -> pd.DataFrame:
    """Returns as many groups as there are numbers or one fewer, evenly from first to last."""
    most = len(_NUMBERS)
    if len(front) <= most:
        return front
    step = (len(front) - 1) / (most - 2)
    return front.iloc[[round(i * step) for i in range(most - 1)]]


def _ends(groups: pd.DataFrame) -> list[float]:
    """Returns the ends of all error bars that lie above zero, and the means."""
    std = groups.error_std.fillna(0.0)
    ends = pd.concat([groups.error - std, groups.error, groups.error + std])
    # A bar that reaches far below its mean would stretch a logarithmic axis for nothing.
    return list(ends[ends >= 0.6 * groups.error.min()])
