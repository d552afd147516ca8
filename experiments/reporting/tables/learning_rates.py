"""The table of learning rates: every structure and gain at its best rate, and at dense's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from experiments.reporting.compare import DENSE, Comparison, learning_rates
from experiments.reporting.tables.cell_table import Cell, CellTable
from experiments.reporting.tables.csv_files import Columns, write_table
from experiments.reporting.wording import spread

_RATE_COLUMNS: Columns = {
    "data": pa.string(),
    "model": pa.string(),
    "settings": pa.string(),
    "split": pa.string(),
    "method": pa.string(),
    "structure": pa.string(),
    "gain": pa.float64(),  # none without multipliers, and for dense
    "learning_rates": pa.string(),
    "diverged_at": pa.string(),
    "best_rate": pa.float64(),
    "error_mean": pa.float64(),
    "error_std": pa.float64(),
    "error_n": pa.int64(),
    "is_at_edge": pa.bool_(),
    "dense_best_rate": pa.float64(),
    "error_at_dense_best_rate": pa.float64(),
    "best_rate_over_dense": pa.float64(),
}

_HEAD = (
    "method",
    "structure",
    "gain",
    "best rate",
    "error there",
    "error at dense's best rate",
    "best rate / dense's",
    "edge",
)


def write_rates(
    path: Path, searches: Iterable[tuple[Comparison, learning_rates.RateSearch]]
) -> None:
    """Writes a row of _RATE_COLUMNS for every curve, as `write_table`; nothing if there is none."""
    rows = [
        _row(comparison, search, curve)
        for comparison, search in searches
        for curve in search.curves
    ]
    if rows:
        write_table(path, rows, _RATE_COLUMNS)


def rate_table(search: learning_rates.RateSearch) -> CellTable:
    """Returns the table of the curves, with their best rates."""
    rows = [_cells(search, curve) for curve in search.curves]
    return CellTable("rates", "Learning rates", _HEAD, 3, rows)


def rate_grid(search: learning_rates.RateSearch) -> CellTable:
    """Returns the table of all errors, with a column for every learning rate."""
    rates = sorted({rate for curve in search.curves for rate in curve.errors})
    rows = [
        [
            *_names(curve),
            *(
                (spread(error), error.mean) if (error := curve.errors.get(rate)) else ("", None)
                for rate in rates
            ),
        ]
        for curve in search.curves
    ]
    head = (*_HEAD[:3], *(f"{rate:g}" for rate in rates))
    name = "Errors by learning rate" + (f" with {search.settings}" if search.settings else "")
    return CellTable("rate_grid", name, head, 3, rows)


def _cells(search: learning_rates.RateSearch, curve: learning_rates.RateCurve) -> list[Cell]:
    at_dense, ratio = search.at_dense(curve), search.over_dense(curve)
    return [
        *_names(curve),
        (f"{curve.best_rate:g}", curve.best_rate),
        (spread(curve.best), curve.best.mean),
        (spread(at_dense) if at_dense else "", at_dense and at_dense.mean),
        ("" if ratio is None else f"{ratio:.3g}", ratio),
        ("edge" if curve.is_at_edge else "", float(curve.is_at_edge)),
    ]


def _names(curve: learning_rates.RateCurve) -> list[Cell]:
    gain = "" if curve.method == DENSE else learning_rates.gain_name(curve.gain)
    return [(curve.method.label, None), (curve.structure, None), (gain, None)]


def _row(
    comparison: Comparison, search: learning_rates.RateSearch, curve: learning_rates.RateCurve
) -> dict[str, Any]:
    at_dense = search.at_dense(curve)
    return {
        "data": comparison.data,
        "model": comparison.model,
        "settings": search.settings,
        "split": search.split,
        "method": curve.method.key,
        "structure": curve.structure,
        "gain": curve.gain,
        "learning_rates": _listed(list(curve.errors)),
        "diverged_at": _listed(curve.diverged),
        "best_rate": curve.best_rate,
        "error_mean": curve.best.mean,
        "error_std": curve.best.std,
        "error_n": curve.best.n,
        "is_at_edge": curve.is_at_edge,
        "dense_best_rate": search.dense and search.dense.best_rate,
        "error_at_dense_best_rate": at_dense and at_dense.mean,
        "best_rate_over_dense": search.over_dense(curve),
    }


def _listed(rates: Sequence[float]) -> str:
    return " ".join(f"{rate:g}" for rate in rates)
