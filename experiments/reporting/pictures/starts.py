"""The picture of starts: error against size, before training and after it."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting.compare.groups import Comparison, Group
from experiments.reporting.compare.methods import Method, in_order
from experiments.reporting.compare.starts import STARTS, StartedGroup
from experiments.reporting.pictures.style import add_title, error_axis, look, size_axis
from experiments.reporting.trials.spread import Spread

_WIDTH, _HEIGHT = 5.4, 5.2  # inches of a panel

_LINES = (":", "--", "-.", (0, (1, 1)), "-")  # from scratch, then the ways to decompose
_MARKERS = ("x", "o", "v", "^", "s")


def _look_of(start: str) -> tuple[object, str, str]:
    """Returns line, marker and how the marker is filled; hollow ones had a teacher."""
    way, is_taught = divmod(STARTS.index(start), 2)
    return _LINES[way], _MARKERS[way], "none" if is_taught else "full"


def start_figure(comparison: Comparison, split: str, started: Sequence[StartedGroup]) -> Figure:
    """Draws a line for every method and start, in a panel before and one after training.

    A point is the mean over seeds, its bar the sample standard deviation; where a start was trained
    at several settings, they are points of the same line.
    """
    panels = {
        "before training": [(one, one.before) for one in started if one.before],
        "after training": [(one, one.group.error(split)) for one in started],
    }
    with look():
        figure = Figure(figsize=(_WIDTH * 2, _HEIGHT))
        grid = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.07, right=0.985, top=0.74, bottom=0.11, wspace=0.2)
        for axes, (name, points) in zip(grid, panels.items(), strict=True):
            _draw(axes, comparison, split, points)
            axes.set_title(name, fontsize=9)
        add_title(figure, f"{comparison.title}: {split} error by start")
        handles, labels = grid[1].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="upper left",
            bbox_to_anchor=(0.006, 1 - 0.32 / _HEIGHT),
            ncols=3,
            columnspacing=1.4,
        )
    return figure


def _draw(
    axes: Axes, comparison: Comparison, split: str, points: Sequence[tuple[StartedGroup, Spread]]
) -> None:
    known = [(one.group.sizes["parameters"], error) for one, error in points]
    draw_axes(axes, comparison, split, known, comparison.dense(split))
    for method in in_order(one.group.method for one, _ in points):
        for start in STARTS:
            line = [
                (one.group.sizes["parameters"], error)
                for one, error in points
                if one.group.method == method and one.start == start
            ]
            if line:
                draw_line(axes, method, start, line)


def draw_axes(
    axes: Axes,
    comparison: Comparison,
    split: str,
    points: Sequence[tuple[int, Spread]],
    dense: Group | None,
    size: str = "parameters",
) -> None:
    """Draws axes around points of size and error, and a line at the error of the dense model."""
    errors = [error.mean for _, error in points]
    if dense:
        errors.append(dense.error(split).mean)
        axes.axhline(errors[-1], color="#8c8c8c", linewidth=1, label="dense")
    size_axis(axes, [number for number, _ in points], comparison.size_label(size))
    error_axis(axes, errors, f"{split} error")


def draw_line(
    axes: Axes, method: Method, start: str, line: Sequence[tuple[int, Spread]], label: str = ""
) -> None:
    """Draws the errors of a method and a start, by size, in the look that they have everywhere.

    Args:
      axes: to draw into.
      method: gives the colour.
      start: one of `starts.STARTS`; gives line and marker.
      line: size and error of every point.
      label: for the legend; empty: method and start.
    """
    line = sorted(line, key=lambda point: point[0])
    style, marker, fill = _look_of(start)
    axes.errorbar(
        [size for size, _ in line],
        [error.mean for _, error in line],
        yerr=[error.std or 0.0 for _, error in line],
        color=method.color,
        linestyle=style,
        marker=marker,
        fillstyle=fill,
        markersize=5.5,
        linewidth=1.3,
        elinewidth=1,
        label=label or f"{method.label}, {start}",
    )
