"""The picture of series: KFC against low rank by size, a row of panels for every trunk."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting.compare.groups import Comparison
from experiments.reporting.compare.methods import in_order
from experiments.reporting.compare.series import Series, has_both
from experiments.reporting.pictures.starts import draw_axes, draw_line
from experiments.reporting.pictures.style import add_title, look

_WIDTH, _HEIGHT = 5.4, 3.9  # inches of a panel
_SIZES = ("layer_parameters", "parameters")


def series_figure(comparison: Comparison, split: str, series: Sequence[Series]) -> Figure:
    """Draws error against the layers' parameters (left) and the whole model's (right).

    Trunks of which no series has both methods are left out. A line is a method in a series, its
    points are means over seeds, the bars sample standard deviations. The grey line is the dense
    model with the same trunk.
    """
    trunks = list(dict.fromkeys(one.trunk for one in series if has_both([one])))
    with look():
        figure = Figure()
        rows = figure.subplots(len(trunks), 2, squeeze=False)
        entries = {}
        for row, trunk in zip(rows, trunks, strict=True):
            own = [one for one in series if one.trunk == trunk]
            for axes, size in zip(row, _SIZES, strict=True):
                _draw(axes, comparison, split, own, size)
                handles, labels = axes.get_legend_handles_labels()
                entries |= dict(zip(labels, handles, strict=True))
            row[0].set_title(trunk, fontsize=9)
        above = 0.7 + 0.19 * math.ceil(len(entries) / 2)
        total = _HEIGHT * len(trunks) + above
        figure.set_size_inches(_WIDTH * 2, total)
        figure.subplots_adjust(
            left=0.07,
            right=0.985,
            top=1 - above / total,
            bottom=0.5 / total,
            hspace=0.35,
            wspace=0.2,
        )
        add_title(figure, f"{comparison.title}: {split} error of KFC and low rank by size")
        figure.legend(
            entries.values(),
            entries.keys(),
            loc="upper left",
            bbox_to_anchor=(0.006, 1 - 0.32 / total),
            ncols=2,
            columnspacing=1.4,
        )
    return figure


def _draw(
    axes: Axes, comparison: Comparison, split: str, series: Sequence[Series], size: str
) -> None:
    groups = [group for one in series for group in one.groups]
    points = [(group.sizes[size], group.error(split)) for group in groups]
    dense = next((one.dense for one in series if one.dense), None)
    draw_axes(axes, comparison, split, points, dense, size)
    several = len({one.replaced for one in series}) > 1
    for one in series:
        for method in in_order(group.method for group in one.groups):
            line = [(g.sizes[size], g.error(split)) for g in one.groups if g.method == method]
            if line:
                layers = f" in {' and '.join(one.replaced)}" if several else ""
                how = f"{one.start}, {one.epochs} epochs"
                draw_line(axes, method, one.start, line, f"{method.label}{layers}, {how}")
