"""The pictures of starts and of series: error against size, a line for every method and start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting.compare import Comparison, Series, series_of, started_groups
from experiments.reporting.pictures.style import add_legend, error_axis, look, panels, size_axis
from experiments.reporting.trials import STARTS

_WIDTH, _HEIGHT = 5.4, 4.2  # inches of a panel
_SIZES = ("layer_parameters", "parameters")

_LINES = (":", "--", "-.", (0, (1, 1)), "-")  # from scratch, then the ways to decompose
_MARKERS = ("x", "o", "v", "^", "s")


@look()
def start_figure(comparison: Comparison, split: str) -> Figure | None:
    """Draws a line for every method and start, in a panel before and one after training.

    A point is the mean over seeds, its bar the sample standard deviation; where a start was trained
    at several settings, they are points of the same line. None if nothing was decomposed.
    """
    started = started_groups(comparison, split)
    if not len(started):
        return None
    before = started.dropna(subset="before")
    before = before.assign(error=before.before, error_std=before.before_std)
    figure, grid = panels(
        f"{comparison.title}: {split} error by start", (_WIDTH * 2, _HEIGHT + 1), (1, 2)
    )
    for axes, name, own in zip(
        grid[0], ("before training", "after training"), (before, started), strict=True
    ):
        own = own.assign(line=[f"{g.method.label}, {g.start}" for g in own.itertuples()])
        own = own.sort_values(["place", "start_order"])
        _draw(axes, comparison, split, own, comparison.dense(split), "parameters")
        axes.set_title(name)
    add_legend(figure, grid[0, 1].get_legend_handles_labels()[0], 3)
    return figure


@look()
def series_figure(comparison: Comparison, split: str) -> Figure | None:
    """Draws error against the layers' parameters (left) and the whole model's (right).

    Trunks of which no series has both methods are left out; None if there are no others. A line is
    a method in a series, its points are means over seeds, the bars sample standard deviations. The
    grey line is the dense model with the same trunk.
    """
    series = series_of(comparison, split)
    trunks = list(dict.fromkeys(one.trunk for one in series if one.has_both))
    if not trunks:
        return None
    rows = [_lines_of([one for one in series if one.trunk == trunk]) for trunk in trunks]
    below = 0.1 * len({line for row in rows for line in row.line})
    title = f"{comparison.title}: {split} error of KFC and low rank by size"
    size = (_WIDTH * 2, _HEIGHT * len(trunks) + below)
    figure, grid = panels(title, size, (len(trunks), 2))
    handles = {}
    for panels_of_trunk, trunk, own in zip(grid, trunks, rows, strict=True):
        dense = next((one.dense for one in series if one.trunk == trunk and one.dense), None)
        for axes, size_name in zip(panels_of_trunk, _SIZES, strict=True):
            _draw(axes, comparison, split, own, dense, size_name)
            handles |= {h.get_label(): h for h in axes.get_legend_handles_labels()[0]}
        panels_of_trunk[0].set_title(trunk)
    add_legend(figure, list(handles.values()), 2)
    return figure


def _lines_of(series: Sequence[Series]) -> pd.DataFrame:
    """Returns the groups of the series, with the name of the line that each is on."""
    several = len({one.replaced for one in series}) > 1
    groups = pd.concat([one.groups.sort_values("place", kind="stable") for one in series])
    layers = groups.replaced.map(lambda names: f" in {' and '.join(names)}" if several else "")
    methods = groups.method.map(lambda method: method.label)
    how = groups.start + ", " + groups.epochs.astype(str) + " epochs"
    return groups.assign(line=methods + layers + ", " + how)


def _draw(
    axes: Axes, comparison: Comparison, split: str, groups: pd.DataFrame, dense: Any, size: str
) -> None:
    """Draws the lines of the groups, in the look of their methods and starts.

    The start gives line and marker, and hollow marks had a teacher; the method gives the colour.
    """
    errors = list(groups.error)
    if dense:
        errors.append(dense.error)
        axes.axhline(dense.error, color="#8c8c8c", linewidth=1, label="dense")
    size_axis(axes, groups[size], comparison.size_label(size))
    error_axis(axes, errors, f"{split} error")
    for name, line in groups.groupby("line", sort=False):
        way, is_taught = divmod(STARTS.index(line.start.iloc[0]), 2)
        axes.errorbar(
            size,
            "error",
            yerr="error_std",
            capsize=0,
            data=line.sort_values(size, kind="stable"),
            elinewidth=1,
            color=line.method.iloc[0].color,
            linestyle=_LINES[way],
            marker=_MARKERS[way],
            fillstyle="none" if is_taught else "full",
            label=name,
        )
