"""The tables of a comparison that the summary and the page share, but for learning rates.

They are of starts, of series (KFC against low rank, near dense, Pareto fronts), of searches for
settings, and of the settings themselves.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import pandas as pd

from experiments.reporting.compare import (
    Comparison,
    Series,
    against_low_rank,
    near_dense,
    series_of,
    started_groups,
)
from experiments.reporting.tables.searches import settings_grid
from experiments.reporting.tables.table import (
    METHOD,
    SETTINGS,
    STRUCTURE,
    Column,
    Table,
    code,
    difference,
    error,
    number,
)
from experiments.reporting.wording import percent

_TRUNK, _START = Column("trunk", "trunk"), Column("start", "start")
_SERIES = Column("series", "series")

_STARTS = (
    METHOD,
    STRUCTURE,
    _TRUNK,
    _START,
    number("parameters of the layers", "layer_parameters"),
    number("total parameters", "parameters"),
    number("epochs", "epochs", str),
    number("relative error of outputs", "output_error", "{:.3f}".format),
    error("error before training", "before"),
    error("error"),
    number("above dense", "above", difference),
)
_SIZES = (
    _SERIES,
    code("KFC", "structure_kfc"),
    code("low rank", "structure_low_rank"),
    number("parameters of KFC", "layer_parameters_kfc"),
    number("of low rank", "layer_parameters_low_rank"),
    error("error of KFC", of="_kfc"),
    error("of low rank", of="_low_rank"),
    number("difference ± standard error", "difference standard_error", difference),
)
_ERRORS = (
    _SERIES,
    code("low rank", "structure"),
    number("its parameters", "layer_parameters"),
    error("its error"),
    number(
        "KFC parameters at that error",
        "needed",
        lambda needed: f"{needed:,.0f}" if needed < math.inf else "not reached",
    ),
    number("times fewer", "ratio bound", lambda ratio, bound: f"{bound}{ratio:.2g}"),
    number("95% interval", "low high", "{:.2g} to {:.2g}".format),
)
_NEAR = (
    _SERIES,
    Column("wanted", "wanted"),
    code("KFC", "structure_kfc"),
    code("low rank", "structure_low_rank"),
    number("fewer parameters, KFC", "parameters_reduction_kfc", percent),
    number("low rank", "parameters_reduction_low_rank", percent),
    number("in the layer, KFC", "layer_parameters_reduction_kfc", percent),
    number("low rank", "layer_parameters_reduction_low_rank", percent),
    error("error of KFC", of="_kfc"),
    error("of low rank", of="_low_rank"),
)
_FRONT = (
    METHOD,
    STRUCTURE,
    _TRUNK,
    _START,
    number("total parameters", "parameters"),
    number("FLOPs per example", "flops"),
    error("error"),
)


@functools.lru_cache(maxsize=8)
def comparison_tables(comparison: Comparison, split: str) -> list[Table]:
    """Returns those of starts, of series, of a search and of settings, where there is any."""
    starts, grid = start_table(comparison, split), settings_grid(comparison, split)
    found = [starts, *series_tables(comparison, split), grid, names_table(comparison)]
    return [table for table in found if table is not None and len(table.frame)]


def group_columns(comparison: Comparison) -> list[Column]:
    """Returns the columns that tell groups apart, the settings' only where these differ."""
    return [METHOD, STRUCTURE, *([SETTINGS] if comparison.has_settings else [])]


def stored_columns(comparison: Comparison, splits: Sequence[str]) -> list[Column]:
    """Returns the columns of bytes, and of errors with weights of 8 bits; none if no run has any.

    They are of the frame of all groups, where measures have the names of their splits.
    """
    if comparison.groups.bytes.isna().all():
        return []
    return [
        number("kB", "bytes", _kilobytes),
        number("kB as int8", "int8_bytes", _kilobytes),
        *(error(f"{split} error as int8", f"{split}_int8") for split in splits),
    ]


def start_table(comparison: Comparison, split: str) -> Table:
    """Returns the table of groups by start, with their errors before and after training.

    They are compared with the dense model of their trunk, which is shown where there are several.
    """
    started = started_groups(comparison, split)
    dense = {trunk: row.error for trunk, row in comparison.dense_by_trunk(split).items()}
    started = started.assign(above=started.error - started.trunk.map(dense).astype(float))
    has_trunks = started.trunk.nunique() > 1
    columns = [column for column in _STARTS if has_trunks or column != _TRUNK]
    return Table("starts", "Starts", columns, started)


def series_tables(comparison: Comparison, split: str) -> list[Table]:
    """Returns the tables of all series; none if no series has both methods."""
    series = [one for one in series_of(comparison, split) if one.has_both]
    if not series:
        return []
    named = list(zip(series, series_names(series), strict=True))

    def of_all(find: Callable[[Series], pd.DataFrame]) -> pd.DataFrame:
        return pd.concat([find(one).assign(series=name) for one, name in named])

    at_error = of_all(against_low_rank.at_equal_error)
    at_error = at_error.assign(
        needed=at_error.kfc_parameters.fillna(math.inf),
        bound=[
            "" if not is_bound else "at most " if math.isnan(needed) else "at least "
            for is_bound, needed in zip(at_error.is_bound, at_error.kfc_parameters, strict=True)
        ],
    )
    groups = comparison.on(split)
    at_size = of_all(against_low_rank.at_equal_size)
    by_parameters, by_flops = (near_dense.pareto_front(groups, s) for s in ("parameters", "flops"))
    tables = [
        Table("sizes", "KFC and low rank at equal size", _SIZES, at_size),
        Table("errors", "KFC and low rank at equal error", _ERRORS, at_error),
        Table("near", "Near dense", _NEAR, of_all(near_dense.smallest_near_dense)),
        Table("front", "Pareto front by parameters", _FRONT, by_parameters),
        Table("front", "Pareto front by FLOPs", _FRONT, by_flops),
    ]
    return [table for table in tables if len(table.frame)]


def _kilobytes(count: float) -> str:
    return f"{count / 1000:,.1f}"


def names_table(comparison: Comparison) -> Table | None:
    """Returns the table of the settings behind their short names; None if all are the same."""
    if not comparison.has_settings:
        return None
    columns = (SETTINGS, code("in full", "settings"))
    named = comparison.groups.drop_duplicates("settings")
    return Table("names", "Settings", columns, named.sort_values("setting_name", kind="stable"))


def series_names(series: Sequence[Series]) -> list[str]:
    """Returns a name for each: its start, and what else tells it from the others."""
    parts = [
        (one.trunk, " and ".join(one.replaced), one.start, f"{one.epochs} epochs") for one in series
    ]
    start = 2
    told = [i for i in range(4) if i == start or len({own[i] for own in parts}) > 1]
    return [", ".join(own[i] for i in told if own[i]) for own in parts]
