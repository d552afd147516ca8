"""The picture of learning curves: error by epoch, the best structures in colour."""

from __future__ import annotations

from matplotlib.figure import Figure

from experiments.reporting.compare.groups import Comparison, Group
from experiments.reporting.compare.methods import Method, in_order
from experiments.reporting.compare.near_dense import (
    default_tolerance,
    pareto_front,
    smallest_within,
)
from experiments.reporting.pictures.style import add_title, error_axis, look
from experiments.reporting.trials.spread import Spread
from experiments.reporting.wording import shortened

_MOST_PER_METHOD = 2
_WIDTHS = (2.2, 1.3)


def mean_curve(group: Group) -> list[tuple[float, Spread]]:
    """Returns `(epoch, error)` wherever every seed of the group has an error."""
    curves = [dict(trial.curve) for trial in group.trials]
    epochs = sorted(set.intersection(*map(set, curves)))
    return [(epoch, Spread.of([curve[epoch] for curve in curves])) for epoch in epochs]


def curve_figure(comparison: Comparison, split: str) -> Figure | None:
    """Draws the error by epoch; None if no trial wrote it.

    In colour, of every method: its smallest structure near dense (or its best), and its smallest
    structure; bands are the standard deviation over seeds. All others are grey.
    """
    groups = [group for group in comparison.at_best(split) if len(mean_curve(group)) > 1]
    if not groups:
        return None
    curve_splits = sorted({group.trials[0].curve_split for group in groups}, reverse=True)
    curve_split = "training" if curve_splits == ["train"] else curve_splits[0]
    shown = [
        (group, width)
        for method in in_order(group.method for group in groups)
        for group, width in zip(_chosen(comparison, groups, method, split), _WIDTHS, strict=False)
    ]
    coloured = [group for group, _ in shown]
    with look():
        figure = Figure(figsize=(9.6, 4.6))
        axes = figure.subplots()
        figure.subplots_adjust(left=0.075, right=0.64, top=0.88, bottom=0.11)
        others = [group for group in groups if group not in coloured]
        for i, group in enumerate(others):
            epochs, errors = zip(*mean_curve(group), strict=True)
            axes.plot(
                epochs,
                [error.mean for error in errors],
                color="#c9c9c9",
                linewidth=0.8,
                label=f"{len(others)} more" if i == 0 else None,
            )
        for group, width in shown:
            epochs, errors = zip(*mean_curve(group), strict=True)
            means = [error.mean for error in errors]
            stds = [error.std or 0.0 for error in errors]
            axes.plot(
                epochs,
                means,
                color=group.method.color,
                linestyle=group.method.line,
                linewidth=width,
                label=_label(group),
                zorder=4,
            )
            axes.fill_between(
                epochs,
                [max(m - s, m / 2) for m, s in zip(means, stds, strict=True)],
                [m + s for m, s in zip(means, stds, strict=True)],
                color=group.method.color,
                alpha=0.13,
                linewidth=0,
            )
        ends = [error.mean for group in groups for _, error in mean_curve(group)]
        # The first epochs of a bad structure are not what the picture is about.
        last = [mean_curve(group)[-1][1].mean for group in groups]
        error_axis(axes, [min(e, 4 * max(last)) for e in ends], f"{curve_split} error")
        axes.set_xlabel("epoch")
        axes.set_xlim(left=0)
        handles, labels = axes.get_legend_handles_labels()
        order = sorted(range(len(labels)), key=lambda i: labels[i].endswith(" more"))
        figure.legend(
            [handles[i] for i in order],
            [labels[i] for i in order],
            loc="upper left",
            bbox_to_anchor=(0.645, 0.89),
            fontsize=8,
            handlelength=2.6,
        )
        add_title(figure, f"{comparison.title}: learning curves")
    return figure


def _chosen(comparison: Comparison, groups: list[Group], method: Method, split: str) -> list[Group]:
    own = pareto_front([g for g in groups if g.method == method], "parameters", split)
    if not own:
        return []
    dense = comparison.dense(split)
    tolerance = default_tolerance(comparison, split)
    near = dense and smallest_within(own, dense, tolerance, "parameters", split)
    return list({id(g): g for g in (near or own[-1], own[0])}.values())[:_MOST_PER_METHOD]


def _label(group: Group) -> str:
    return f"{shortened(group.label, 46)}  ({mean_curve(group)[-1][1].mean:.2%})"
