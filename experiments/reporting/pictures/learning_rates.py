"""The picture of learning rates: a panel for every structure, a line for every gain."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting.compare import DENSE, learning_rates
from experiments.reporting.pictures.style import (
    RING,
    add_legend,
    draw_errors,
    draw_ring,
    entry,
    error_axis,
    look,
    panels,
    rate_axis,
)
from experiments.reporting.wording import shortened

_COLUMNS = 3
_WIDTH, _HEIGHT = 3.5, 2.75  # inches of a panel
_HIGHEST = 2.0  # times the worst best error of a panel: what lies above is not drawn to scale

# Colour, marker and line: without multipliers, then gain by gain. Told apart by the colour-blind.
_NO_MULTIPLIERS = ("#c44e00", "s", ":")
_GAINS = (
    ("#0072b2", "o", "-"),
    ("#00805e", "D", "--"),
    ("#a8478a", "^", "-."),
    ("#7a6a00", "v", (0, (5, 1, 1, 1, 1, 1))),
)
_GREY = "#8c8c8c"
_DENSE = (_GREY, DENSE.marker, "-")


@look()
def rate_figure(search: learning_rates.RateSearch, title: str) -> Figure:
    """Draws error against learning rate, with dense in grey in every panel, and rings at the best.

    An error far above all that is good is a hollow mark at the upper end of its panel, and a cross
    there is a run that diverged. Every panel has a scale of its own.
    """
    compressed = search.compressed
    labels = list(compressed.label.unique()) or [""]
    rows, columns = math.ceil(len(labels) / _COLUMNS), min(_COLUMNS, len(labels))
    # A single panel is as wide as two, for the title and the legend.
    width, height = _WIDTH * max(columns, 2) + 0.35, _HEIGHT * rows + 1.15
    figure, grid = panels(
        f"{title}: {search.split} error against learning rate",
        (width, height),
        (rows, columns),
        (0.72, 0.12, 0.95, 0.52),
        wspace=0.3,
        hspace=0.42,
    )
    for axes in grid.flat[len(labels) :]:
        axes.set_visible(False)
    styles = _styles(search.gains)
    for axes, label in zip(grid.flat, labels, strict=False):
        axes.set_title(shortened(label, 40), fontsize=9)
        _draw(axes, search, compressed[compressed.label == label], styles)
    entries = [entry(gain, *styles[gain]) for gain in search.gains]
    if search.dense:
        entries.insert(0, entry("dense (dashes: its best rate)", *_DENSE, markersize=8))
    entries.append(entry("best", markersize=11, **RING))
    if search.curves.diverged.any():
        entries.append(entry("diverged", marker="x"))
    add_legend(figure, entries, len(search.gains) + 3)
    return figure


def _draw(
    axes: Axes, search: learning_rates.RateSearch, own: pd.DataFrame, styles: dict[str, Any]
) -> None:
    drawn = pd.concat([search.curves[search.curves.method == DENSE], own])
    points = {
        curve.Index: search.points[
            (search.points.label == curve.label) & (search.points.gain_name == curve.gain_name)
        ]
        for curve in drawn.itertuples()
    }
    rate_axis(
        axes, sorted({*search.points.learning_rate, *search.curves.diverged.explode().dropna()})
    )
    errors = pd.concat(points.values()).error
    error_axis(axes, errors.clip(upper=_HIGHEST * drawn.error.max()), f"{search.split} error")
    top = axes.get_ylim()[1]
    if search.dense:
        axes.axvline(search.dense.learning_rate, color=_GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    for curve in drawn.itertuples():
        is_dense = curve.method == DENSE
        color, marker, line = _DENSE if is_dense else styles[curve.gain_name]
        rows = points[curve.Index]
        size = {"marker": marker, "markersize": 8 if is_dense else 5, "clip_on": False}
        draw_errors(
            axes,
            rows.assign(error=rows.error.clip(upper=top)),
            "learning_rate",
            color=color,
            linestyle=line,
            markeredgecolor="white",
            markeredgewidth=0.5,
            linewidth=1.5,
            zorder=2 if is_dense else 3,
            **size,
        )
        draw_ring(axes, curve.learning_rate, min(curve.error, top), color, zorder=4, clip_on=False)
        above = rows.learning_rate[rows.error > top]
        at_top = {"linestyle": "none", "color": color, "zorder": 4, **size}
        axes.plot(above, [top] * len(above), markerfacecolor="white", **at_top)
        for rate in curve.diverged:
            axes.plot(rate, top, **(at_top | {"marker": "x", "markersize": 7}))


def _styles(gains: list[str]) -> dict[str, Any]:
    """Returns colour, marker and line of every gain."""
    none = learning_rates.gain_name(math.nan)
    numbers = [gain for gain in gains if gain != none]
    looks = {gain: _GAINS[i % len(_GAINS)] for i, gain in enumerate(numbers)}
    return {none: _NO_MULTIPLIERS} | looks
