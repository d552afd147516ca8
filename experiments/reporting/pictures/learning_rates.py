"""The picture of learning rates: a panel for every structure, a line for every gain."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting.compare import DENSE, learning_rates
from experiments.reporting.pictures.style import (
    RING,
    add_legend,
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
    labels = list(search.compressed.label.unique()) or [""]
    rows, columns = math.ceil(len(labels) / _COLUMNS), min(_COLUMNS, len(labels))
    # A single panel is as wide as two, for the title and the legend.
    size = (_WIDTH * max(columns, 2) + 0.35, _HEIGHT * rows + 1.15)
    title = f"{title}: {search.split} error against learning rate"
    figure, grid = panels(title, size, (rows, columns))
    for axes in grid.flat[len(labels) :]:
        axes.set_visible(False)
    spare = itertools.cycle(_GAINS)
    none = learning_rates.gain_name(math.nan)
    styles = {gain: _NO_MULTIPLIERS if gain == none else next(spare) for gain in search.gains}
    for axes, label in zip(grid.flat, labels, strict=False):
        axes.set_title(shortened(label, 40))
        _draw(axes, search, label, styles)
    entries = [entry(gain, *styles[gain]) for gain in search.gains]
    if search.dense:
        entries.insert(0, entry("dense (dashes: its best rate)", *_DENSE, markersize=8))
    entries.append(entry("best", **RING, markersize=11))
    if search.curves.diverged.any():
        entries.append(entry("diverged", marker="x"))
    add_legend(figure, entries, len(search.gains) + 3)
    return figure


def _draw(axes: Axes, search: learning_rates.RateSearch, label: str, styles: Any) -> None:
    """Draws the curves of a structure, and those of dense."""
    drawn = search.curves[search.curves.label.eq(label) | (search.curves.method == DENSE)]
    points = dict(list(search.points.groupby(["label", "gain_name"])))
    rates = {*search.points.learning_rate, *search.curves.diverged.explode().dropna()}
    rate_axis(axes, sorted(rates))
    errors = pd.concat(points[curve.label, curve.gain_name].error for curve in drawn.itertuples())
    error_axis(axes, errors.clip(upper=_HIGHEST * drawn.error.max()), f"{search.split} error")
    top = axes.get_ylim()[1]
    if search.dense:
        axes.axvline(search.dense.learning_rate, color=_GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    for curve in drawn.itertuples():
        is_dense = curve.method == DENSE
        color, marker, line = _DENSE if is_dense else styles[curve.gain_name]
        rows = points[curve.label, curve.gain_name]
        size = {"marker": marker, "markersize": 8 if is_dense else 5, "clip_on": False}
        axes.errorbar(
            "learning_rate",
            "error",
            yerr="error_std",
            data=rows.assign(error=rows.error.clip(upper=top)),
            elinewidth=1,
            capsize=0,
            color=color,
            linestyle=line,
            markeredgecolor="white",
            zorder=2 if is_dense else 3,
            **size,
        )
        mark = {"linestyle": "none", "color": color, "zorder": 4, **size}
        best = (curve.learning_rate, min(curve.error, top))
        axes.plot(*best, **mark | RING | {"markersize": 10.5})
        for rate in rows.learning_rate[rows.error > top]:
            axes.plot(rate, top, **mark, markerfacecolor="white")
        for rate in curve.diverged:
            axes.plot(rate, top, **mark | {"marker": "x", "markersize": 7})
