"""The picture of learning curves: error by epoch, the best structures in colour."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting.compare import Comparison, near_dense
from experiments.reporting.pictures.style import error_axis, look, panels
from experiments.reporting.wording import shortened

_WIDTHS = (2.2, 1.3)
_GREY = "#c9c9c9"


def mean_curve(group: Any) -> pd.DataFrame:
    """Returns `mean` and `std` by epoch, wherever every seed of the group has an error."""
    curves = [pd.Series(dict(record.curve), dtype=float) for record in group.records]
    return pd.concat(curves, axis=1).dropna().sort_index().agg(["mean", "std"], axis=1)


@look()
def curve_figure(comparison: Comparison, split: str) -> Figure | None:
    """Draws the error by epoch; None if no trial wrote it.

    In colour, of every method: its smallest structure near dense (or its best), and its smallest
    structure; bands are the standard deviation over seeds. All others are grey.
    """
    groups = comparison.at_best(split)
    curves = {group.Index: mean_curve(group) for group in groups.itertuples()}
    groups = groups[[len(curve) > 1 for curve in curves.values()]]
    if not len(groups):
        return None
    curve_splits = sorted({record.curve_split for record in groups.record}, reverse=True)
    curve_split = "training" if curve_splits == ["train"] else curve_splits[0]
    figure, ((axes,),) = panels(f"{comparison.title}: learning curves", (9.6, 4.6))
    coloured = {}
    for method in comparison.methods:
        own = _chosen(comparison, groups[groups.method == method], split)
        coloured |= dict(zip(own, _WIDTHS, strict=False))
    others = groups.index.difference(list(coloured))
    for index in others:
        axes.plot(curves[index]["mean"], color=_GREY, linewidth=0.8)
    for index, width in coloured.items():
        _draw(axes, groups.loc[index], curves[index], width)
    if len(others):
        axes.plot([], [], color=_GREY, linewidth=0.8, label=f"{len(others)} more")
    # The first epochs of a bad structure are not what the picture is about.
    means = [curves[index]["mean"] for index in groups.index]
    highest = 4 * max(own.iloc[-1] for own in means)
    error_axis(axes, pd.concat(means).clip(upper=highest), f"{curve_split} error")
    axes.set(xlabel="epoch", xlim=(0, None))
    figure.legend(loc="outside right upper", fontsize=8, handlelength=2.6)
    return figure


def _draw(axes: Axes, group: Any, curve: pd.DataFrame, width: float) -> None:
    mean, std, method = curve["mean"], curve["std"].fillna(0.0), group["method"]
    label = f"{shortened(group['label'], 46)}  ({mean.iloc[-1]:.2%})"
    axes.plot(
        mean, color=method.color, linestyle=method.line, linewidth=width, label=label, zorder=4
    )
    band = {"color": method.color, "alpha": 0.13, "linewidth": 0}
    axes.fill_between(curve.index, (mean - std).clip(lower=mean / 2), mean + std, **band)


def _chosen(comparison: Comparison, groups: pd.DataFrame, split: str) -> list[int]:
    """Returns the smallest near dense (or the best), and the smallest, by their places."""
    own = near_dense.pareto_front(groups, "parameters")
    if not len(own):
        return []
    dense = comparison.dense(split)
    tolerance = near_dense.default_tolerance(comparison, split)
    near = dense and near_dense.smallest_within(own, dense, tolerance, "parameters")
    return list(dict.fromkeys([near.Index if near else own.index[-1], own.index[0]]))
