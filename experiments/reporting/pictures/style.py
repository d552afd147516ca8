"""What all pictures share: their look, their axes, and how they become files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from experiments.reporting.wording import short_count

_LOOK = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#777777",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "legend.frameon": False,
    "figure.facecolor": "white",
    "svg.hashsalt": "kfc-jax",  # the same numbers give the same file
    "text.parse_math": False,
}

_STEPS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9))


_MOST_RATES = 7
_CUT = {"color": "#777777", "linewidth": 0.8, "linestyle": (0, (8, 4))}
RING = {"markerfacecolor": "none", "markeredgewidth": 0.9, "zorder": 5}


@contextmanager
def look() -> Iterator[None]:
    """Draws in the report's style, whatever the user's own."""
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_LOOK, "backend": "agg"}):
        yield


def add_title(figure: Figure, text: str) -> None:
    """Writes the title of a picture at its top left."""
    height = figure.get_size_inches()[1]
    figure.suptitle(
        text, x=0.012, y=1 - 0.11 / height, ha="left", va="top", fontsize=12, fontweight="bold"
    )


def panels(
    title: str,
    size: tuple[float, float],
    grid: tuple[int, int],
    margins: tuple[float, float, float, float],
    **spacing: Any,
) -> tuple[Figure, Any]:
    """Returns a figure with its title, and its axes by row and column.

    Args:
      title: of the figure.
      size: width and height in inches.
      grid: numbers of rows and of columns.
      margins: inches to the left and right of the axes, above and below them.
      **spacing: of `Figure.subplots_adjust` (`wspace`, `hspace`), and what `Figure.subplots` takes.
    """
    (width, height), (left, right, top, bottom) = size, margins
    between = {name: spacing.pop(name) for name in ("wspace", "hspace") if name in spacing}
    figure = Figure(figsize=size)
    axes = figure.subplots(*grid, squeeze=False, **spacing)
    figure.subplots_adjust(
        left / width, bottom / height, 1 - right / width, 1 - top / height, **between
    )
    add_title(figure, title)
    return figure, axes


def add_legend(figure: Figure, handles: Sequence[Any], columns: int) -> None:
    """Writes the legend below the title, from entries that have labels."""
    figure.legend(
        handles=list(handles),
        loc="upper left",
        bbox_to_anchor=(0.006, 1 - 0.32 / figure.get_size_inches()[1]),
        ncols=columns,
        columnspacing=1.4,
        handletextpad=0.5,
    )


def entry(
    label: str, color: str = "#111111", marker: str = "o", line: Any = "none", **kind: Any
) -> Line2D:
    """Returns an entry of a legend, by default of marks without a line."""
    own = {"markeredgecolor": "white", "markersize": 6} if line != "none" else {}
    return Line2D([], [], color=color, marker=marker, linestyle=line, label=label, **(own | kind))


def draw_errors(axes: Axes, rows: pd.DataFrame, x: str, **kind: Any) -> None:
    """Draws the errors of the rows against one of their columns, with bars of deviations.

    Args:
      axes: to draw into.
      rows: with `error` and `error_std`, which is NaN for one seed.
      x: the column.
      **kind: how `Axes.errorbar` draws them.
    """
    axes.errorbar(rows[x], rows.error, yerr=rows.error_std, elinewidth=1, **kind)


def draw_ring(axes: Axes, x: float, y: float, color: str = "#111111", **kind: Any) -> None:
    """Draws a ring around a point."""
    axes.plot(x, y, marker="o", markersize=10.5, markeredgecolor=color, **(RING | kind))


def save(figure: Figure, path: Path) -> list[Path]:
    """Writes `path` with the suffixes `.png` and `.svg`, and returns both."""
    png, svg = path.with_suffix(".png"), path.with_suffix(".svg")
    with look():
        figure.savefig(png, dpi=160)
        figure.savefig(svg, metadata={"Date": None})
    return [png, svg]


def log_ticks(low: float, high: float, at_least: int = 4) -> list[float]:
    """Returns round numbers from `low` to `high` for a logarithmic axis, no more than needed."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in _STEPS:
        ticks = [step * 10.0**d for d in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= at_least:
            break
    return ticks


def size_axis(axes: Axes, sizes: Iterable[float], label: str) -> None:
    """Makes x a logarithmic axis of counts around `sizes`, which are positive."""
    sizes = list(sizes)
    low, high = min(sizes) / 1.25, max(sizes) * 1.25
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    _set_ticks(axes, "x", low, high, short_count, at_least=3)
    axes.set_xlabel(f"{label} (logarithmic)")


def rate_axis(axes: Axes, rates: Sequence[float]) -> None:
    """Makes x a logarithmic axis of learning rates, with ticks at those tried, which rise."""
    low, high = rates[0] / 1.25, rates[-1] * 1.25
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = list(rates) if len(rates) <= _MOST_RATES else log_ticks(low, high)
    fix_ticks(axes, "x", ticks, lambda rate: f"{rate:g}")
    axes.set_xlabel("learning rate (logarithmic)")


def error_axis(axes: Axes, errors: Iterable[float], label: str, axis: str = "y") -> None:
    """Makes an axis of error rates around `errors`; logarithmic if they differ by far."""
    errors = list(errors)
    low, high = min(errors), max(errors)
    set_limits = axes.set_ylim if axis == "y" else axes.set_xlim
    if _is_log(low, high):
        (axes.set_yscale if axis == "y" else axes.set_xscale)("log")
        low, high = low / 1.15, high * 1.15
        _set_ticks(axes, axis, low, high, _percent, at_least=4)
        label += " (logarithmic)"
    else:
        margin = 0.08 * (high - low) or max(0.1 * high, 1e-4)
        low, high = max(low - margin, 0.0), high + margin
        getattr(axes, f"{axis}axis").set_major_formatter(FuncFormatter(lambda v, _: _percent(v)))
    set_limits(low, high)
    (axes.set_ylabel if axis == "y" else axes.set_xlabel)(label)


def fence(errors: pd.Series) -> float:
    """Returns the highest error to draw to scale, as the page's plot does.

    The lower three quarters of the errors then have a quarter of the axis or more.
    """
    is_log = _is_log(errors.min(), errors.max())
    values = np.sort(np.log(errors) if is_log else errors)
    used = values[int(0.75 * (len(values) - 1))] - values[0]
    if len(values) < 5 or used <= 0:
        return math.inf
    highest = values[0] + 4 * used
    return math.exp(highest) if is_log else highest


def add_strip(axes: Axes) -> float:
    """Makes room above the errors for those beyond the scale, and returns where they stand."""
    below, above = 0.9, 0.95  # of the height
    low, high = axes.get_ylim()
    is_log = axes.get_yscale() == "log"
    low, high = (math.log(low), math.log(high)) if is_log else (low, high)
    place, top = (low + (high - low) * part / below for part in (above, 1))
    axes.set_ylim(top=math.exp(top) if is_log else top)
    axes.axhline(math.exp(high) if is_log else high, **_CUT)
    return math.exp(place) if is_log else place


def label_points(
    axes: Axes, labels: Sequence[tuple[str, float, float]], points: Iterable[tuple[float, float]]
) -> None:
    """Writes short labels next to points, each on the side where it is the least crowded.

    Args:
      axes: with their final limits and position.
      labels: text, x and y of every point to label; those outside the axes are left out.
      points: x and y of everything that labels should keep away from.
    """
    to_pixels, box = axes.transData.transform, axes.bbox
    inside = [label for label in labels if box.contains(*to_pixels(label[1:]))]
    crowd = [tuple(to_pixels(point)) for point in points]
    scale = axes.figure.dpi / 72
    for text, x, y in inside:
        here = to_pixels((x, y))
        sides = [
            (here[0] + radius * scale * math.cos(angle), here[1] + radius * scale * math.sin(angle))
            for radius in (12, 17, 23)
            for angle in (math.pi / 4 * k for k in (1, 3, 7, 5, 0, 4, 2, 6))
        ]
        free = [side for side in sides if box.contains(*side)] or sides
        # Room beyond what a digit needs counts for nothing: then the nearest side wins.
        place = max(free, key=lambda side: min(min(math.dist(side, c) for c in crowd), 11 * scale))
        crowd.append(place)
        axes.annotate(
            text,
            (x, y),
            xytext=((place[0] - here[0]) / scale, (place[1] - here[1]) / scale),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            fontweight="bold",
            zorder=6,
        )


def _is_log(low: float, high: float) -> bool:
    return low > 0 and high / low > 3


def _set_ticks(
    axes: Axes, axis: str, low: float, high: float, text: Callable[[float], str], at_least: int
) -> None:
    fix_ticks(axes, axis, log_ticks(low, high, at_least), text)


def fix_ticks(axes: Axes, axis: str, ticks: Sequence[float], text: Callable[[float], str]) -> None:
    """Puts ticks at these values of the axis `x` or `y`, with their texts, and no others."""
    artist = getattr(axes, f"{axis}axis")
    artist.set_major_locator(FixedLocator(ticks))
    artist.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    artist.set_minor_locator(NullLocator())
    artist.set_minor_formatter(NullFormatter())


def _percent(fraction: float) -> str:
    return f"{fraction * 100:.3g}%"
