"""The tables of a comparison's series: KFC against low rank, near dense, Pareto fronts."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.reporting.compare.against_low_rank import at_equal_error, at_equal_size
from experiments.reporting.compare.groups import Comparison, Group
from experiments.reporting.compare.near_dense import near_dense, pareto_front
from experiments.reporting.compare.series import Series, has_both, series_names, series_of
from experiments.reporting.compare.starts import start_of
from experiments.reporting.tables.cell_table import Cell, CellTable
from experiments.reporting.wording import count, percent, spread

_SIZE_HEAD = (
    "series",
    "KFC",
    "low rank",
    "parameters of KFC",
    "of low rank",
    "error of KFC",
    "of low rank",
    "difference ± standard error",
)
_ERROR_HEAD = (
    "series",
    "low rank",
    "its parameters",
    "its error",
    "KFC parameters at that error",
    "times fewer",
    "95% interval",
)
_NEAR_HEAD = (
    "series",
    "wanted",
    "KFC",
    "low rank",
    "fewer parameters, KFC",
    "low rank",
    "in the layer, KFC",
    "low rank",
    "error of KFC",
    "of low rank",
)
_FRONT_HEAD = (
    "method",
    "structure",
    "trunk",
    "start",
    "total parameters",
    "FLOPs per example",
    "error",
)


def series_tables(comparison: Comparison, split: str) -> list[CellTable]:
    """Returns the tables that have rows; none if no series has both methods."""
    series = [one for one in series_of(comparison, split) if has_both([one])]
    if not series:
        return []
    sizes = _at_equal_size(series, split)
    front = {size: _front(comparison, split, size) for size in ("parameters", "flops")}
    tables = [
        CellTable("sizes", "KFC and low rank at equal size", _SIZE_HEAD, 3, sizes, (1, 2)),
        CellTable(
            "errors", "KFC and low rank at equal error", _ERROR_HEAD, 2, _at_error(series, split)
        ),
        CellTable("near", "Near dense", _NEAR_HEAD, 4, _near_dense(series, split), (2, 3)),
        CellTable("front", "Pareto front by parameters", _FRONT_HEAD, 4, front["parameters"]),
        CellTable("front", "Pareto front by FLOPs", _FRONT_HEAD, 4, front["flops"]),
    ]
    return [table for table in tables if table.rows]


def _at_equal_size(series: Sequence[Series], split: str) -> list[list[Cell]]:
    rows = []
    for one, name in zip(series, series_names(series), strict=True):
        for pair in at_equal_size(one, split):
            difference = f"{pair.difference * 100:+.2f}"
            if pair.standard_error is not None:
                difference += f" ± {pair.standard_error * 100:.2f}"
            both = (pair.kfc, pair.low_rank)
            rows.append(
                [
                    (name, None),
                    *((group.structure, None) for group in both),
                    *map(_layer_size, both),
                    *(_error(group, split) for group in both),
                    (difference, pair.difference),
                ]
            )
    return rows


def _at_error(series: Sequence[Series], split: str) -> list[list[Cell]]:
    rows = []
    for one, name in zip(series, series_names(series), strict=True):
        for pair in at_equal_error(one, split):
            needed, ratio = pair.kfc_parameters, f"{pair.ratio:.2g}"
            if pair.is_bounded:
                ratio = f"{'at least' if needed else 'at most'} {ratio}"
            rows.append(
                [
                    (name, None),
                    (pair.low_rank.structure, None),
                    _layer_size(pair.low_rank),
                    _error(pair.low_rank, split),
                    (f"{needed:,.0f}" if needed else "not reached", needed),
                    (ratio, pair.ratio),
                    (f"{pair.low:.2g} to {pair.high:.2g}", pair.low),
                ]
            )
    return rows


def _near_dense(series: Sequence[Series], split: str) -> list[list[Cell]]:
    rows = []
    for one, name in zip(series, series_names(series), strict=True):
        for wish in near_dense(one, split):
            groups = (wish.kfc, wish.low_rank)
            rows.append(
                [
                    (name, None),
                    (wish.text, None),
                    *((group.structure if group else "", None) for group in groups),
                    *(_saved(group, "parameters") for group in groups),
                    *(_saved(group, "layer_parameters") for group in groups),
                    *(_error(group, split) if group else ("", None) for group in groups),
                ]
            )
    return rows


def _front(comparison: Comparison, split: str, size: str) -> list[list[Cell]]:
    """Returns the models of all series that no other beats in both size and error."""
    rows = []
    for group in pareto_front([g for g in comparison.groups if g.error(split)], size, split):
        texts = (
            group.method.label,
            group.structure,
            group.trunk,
            start_of(group.trials[0]),
        )
        sizes = (group.sizes["parameters"], group.sizes["flops"])
        rows.append(
            [*((t, None) for t in texts), *((count(n), n) for n in sizes), _error(group, split)]
        )
    return rows


def _saved(group: Group | None, size: str) -> Cell:
    return (percent(group.reduction(size)), group.reduction(size)) if group else ("", None)


def _layer_size(group: Group) -> Cell:
    size = group.sizes["layer_parameters"]
    return count(size), size


def _error(group: Group, split: str) -> Cell:
    error = group.error(split)
    return spread(error), error.mean
