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

from experiments.reporting.wording import short_count

_LOOK = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
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
    "lines.linewidth": 1.3,
    "lines.markersize": 5.5,
    "lines.markeredgewidth": 0.7,
    "errorbar.capsize": 2,
    "legend.frameon": False,
    "legend.columnspacing": 1.4,
    "figure.facecolor": "white",
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "savefig.dpi": 160,
    "svg.hashsalt": "kfc-jax",  # the same numbers give the same file
    "text.parse_math": False,
}
_STEPS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9))
_MOST_RATES = 7
RING = {"marker": "o", "markerfacecolor": "none", "markeredgewidth": 0.9}
"""How the best points are marked."""


@contextmanager
def look() -> Iterator[None]:
    """Draws in the report's style, whatever the user's own."""
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_LOOK, "backend": "agg"}):
        yield


def panels(
    title: str, size: tuple[float, float], grid: tuple[int, int] = (1, 1), **kind: Any
) -> tuple[Figure, Any]:
    """Returns a figure with its title, and its axes by row and column.

    Args:
      title: of the figure.
      size: width and height in inches.
      grid: numbers of rows and of columns.
      **kind: as for `Figure.subplots`.
    """
    figure = Figure(figsize=size)
    figure.suptitle(title, x=0.012, ha="left")
    return figure, figure.subplots(*grid, squeeze=False, **kind)


def add_legend(figure: Figure, handles: Iterable[Any], columns: int) -> None:
    """Writes the legend below the panels, from entries that have labels."""
    figure.legend(handles=list(handles), loc="outside lower left", ncols=columns)


def entry(
    label: str, color: str = "#111111", marker: str = "o", line: Any = "none", **kind: Any
) -> Line2D:
    """Returns an entry of a legend, by default of marks without a line."""
    edge = "auto" if line == "none" else "white"
    look = {"color": color, "marker": marker, "linestyle": line, "markeredgecolor": edge}
    return Line2D([], [], label=label, **look | kind)


def save(figure: Figure, path: Path) -> list[Path]:
    """Writes `path` with the suffixes `.png` and `.svg`, and returns both."""
    png, svg = path.with_suffix(".png"), path.with_suffix(".svg")
    with look():
        figure.savefig(png)
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


def size_axis(axes: Axes, sizes: pd.Series, label: str) -> None:
    """Makes x a logarithmic axis of counts around `sizes`, which are positive."""
    low, high = sizes.min() / 1.25, sizes.max() * 1.25
    axes.set(xscale="log", xlim=(low, high), xlabel=f"{label} (logarithmic)")
    fix_ticks(axes, "x", log_ticks(low, high, at_least=3), short_count)


def rate_axis(axes: Axes, rates: Sequence[float]) -> None:
    """Makes x a logarithmic axis of learning rates, with ticks at those tried, which rise."""
    low, high = rates[0] / 1.25, rates[-1] * 1.25
    axes.set(xscale="log", xlim=(low, high), xlabel="learning rate (logarithmic)")
    fix_ticks(
        axes, "x", rates if len(rates) <= _MOST_RATES else log_ticks(low, high), "{:g}".format
    )


def error_axis(axes: Axes, errors: Iterable[float], label: str, axis: str = "y") -> None:
    """Makes an axis of error rates around `errors`; logarithmic if they differ by far."""
    errors = list(errors)
    low, high = min(errors), max(errors)
    if is_log := _is_log(low, high):
        low, high = low / 1.15, high * 1.15
        label += " (logarithmic)"
    else:
        margin = 0.08 * (high - low) or max(0.1 * high, 1e-4)
        low, high = max(low - margin, 0.0), high + margin
    scale = "log" if is_log else "linear"
    axes.set(**{f"{axis}scale": scale, f"{axis}lim": (low, high), f"{axis}label": label})
    if is_log:
        fix_ticks(axes, axis, log_ticks(low, high), _percent)
    else:
        getattr(axes, f"{axis}axis").set_major_formatter(lambda error, _: _percent(error))


def fix_ticks(axes: Axes, axis: str, ticks: Sequence[float], text: Callable[[float], str]) -> None:
    """Puts ticks at these values of the axis `x` or `y`, with their texts, and no others."""
    artist = getattr(axes, f"{axis}axis")
    artist.set_ticks(ticks, [text(tick) for tick in ticks])
    artist.set_ticks([], minor=True)


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


def _is_log(low: float, high: float) -> bool:
    return low > 0 and high / low > 3


def _percent(fraction: float) -> str:
    return f"{fraction * 100:.3g}%"
