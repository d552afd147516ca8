"""The picture of learning rates: a panel for every structure, a line for every gain."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.reporting.compare import DENSE, learning_rates
from experiments.reporting.pictures.style import add_title, error_axis, look, rate_axis
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

_Style = tuple[str, str, object]


def rate_figure(search: learning_rates.RateSearch, title: str) -> Figure:
    """Draws error against learning rate, with dense in grey in every panel, and rings at the best.

    An error far above all that is good is a hollow mark at the upper end of its panel, and a cross
    there is a run that diverged. Every panel has a scale of its own.
    """
    panels = list(search.compressed.values()) or [[]]
    rows, columns = math.ceil(len(panels) / _COLUMNS), min(_COLUMNS, len(panels))
    # A single panel is as wide as two, for the title and the legend.
    width, height = _WIDTH * max(columns, 2) + 0.35, _HEIGHT * rows + 1.15
    gains = search.gains
    styles = dict(zip(gains, _styles(gains), strict=True))
    with look():
        figure = Figure(figsize=(width, height))
        grid = figure.subplots(rows, columns, squeeze=False)
        figure.subplots_adjust(
            left=0.72 / width,
            right=1 - 0.12 / width,
            top=1 - 0.95 / height,
            bottom=0.52 / height,
            wspace=0.3,
            hspace=0.42,
        )
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        rates = sorted({r for curve in search.curves for r in (*curve.errors, *curve.diverged)})
        for axes, curves in zip(grid.flat, panels, strict=False):
            _draw(axes, search, curves, styles, rates)
        add_title(figure, f"{title}: {search.split} error against learning rate")
        figure.legend(
            handles=_legend(search, styles),
            loc="upper left",
            bbox_to_anchor=(0.006, 1 - 0.32 / height),
            ncols=len(gains) + 3,
            columnspacing=1.4,
            handletextpad=0.5,
        )
    return figure


def _draw(
    axes: Axes,
    search: learning_rates.RateSearch,
    curves: Sequence[learning_rates.RateCurve],
    styles: dict[float | None, _Style],
    rates: Sequence[float],
) -> None:
    rate_axis(axes, rates)
    drawn = ([search.dense] if search.dense else []) + list(curves)
    highest = _HIGHEST * max(curve.best.mean for curve in drawn)
    errors = [error.mean for curve in drawn for error in curve.errors.values()]
    error_axis(axes, [min(error, highest) for error in errors], f"{search.split} error")
    top = axes.get_ylim()[1]
    if curves:
        axes.set_title(shortened(curves[0].label, 40), fontsize=9)
    if search.dense:
        axes.axvline(search.dense.best_rate, color=_GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    for curve in drawn:
        is_dense = curve.method == DENSE
        color, marker, line = (_GREY, DENSE.marker, "-") if is_dense else styles[curve.gain]
        axes.errorbar(
            list(curve.errors),
            [min(error.mean, top) for error in curve.errors.values()],
            yerr=[error.std or 0.0 for error in curve.errors.values()],
            color=color,
            marker=marker,
            linestyle=line,
            markersize=8 if is_dense else 5,
            markeredgecolor="white",
            markeredgewidth=0.5,
            linewidth=1.5,
            elinewidth=1 if any(error.std for error in curve.errors.values()) else 0,
            zorder=2 if is_dense else 3,
            clip_on=False,
        )
        axes.plot(
            curve.best_rate,
            min(curve.best.mean, top),
            marker="o",
            markersize=10.5,
            markerfacecolor="none",
            markeredgecolor=color,
            markeredgewidth=1,
            zorder=4,
            clip_on=False,
        )
        above = [rate for rate, error in curve.errors.items() if error.mean > top]
        axes.plot(
            above,
            [top] * len(above),
            linestyle="none",
            marker=marker,
            markersize=8 if is_dense else 5,
            color=color,
            markerfacecolor="white",
            zorder=4,
            clip_on=False,
        )
        for rate in curve.diverged:
            axes.plot(rate, top, marker="x", color=color, markersize=7, zorder=4, clip_on=False)


def _styles(gains: Sequence[float | None]) -> list[_Style]:
    numbers = [gain for gain in gains if gain is not None]
    return [
        _NO_MULTIPLIERS if gain is None else _GAINS[numbers.index(gain) % len(_GAINS)]
        for gain in gains
    ]


def _legend(search: learning_rates.RateSearch, styles: dict[float | None, _Style]) -> list[Line2D]:
    entries = [
        _entry(learning_rates.gain_name(gain), color, marker, line)
        for gain, (color, marker, line) in styles.items()
    ]
    if search.dense:
        entries.insert(0, _entry("dense (dashes: its best rate)", _GREY, DENSE.marker, "-", 8))
    ring = Line2D(
        [],
        [],
        linestyle="none",
        marker="o",
        markersize=11,
        markerfacecolor="none",
        markeredgecolor="#111111",
        label="best",
    )
    if not any(curve.diverged for curve in search.curves):
        return [*entries, ring]
    cross = Line2D([], [], linestyle="none", marker="x", color="#111111", label="diverged")
    return [*entries, ring, cross]


def _entry(label: str, color: str, marker: str, line: object, size: float = 6) -> Line2D:
    return Line2D(
        [],
        [],
        color=color,
        marker=marker,
        linestyle=line,
        markersize=size,
        markeredgecolor="white",
        label=label,
    )
