"""Tables for programs: every trial, group and curve of learning rates, as CSV and Parquet.

Errors and reductions are fractions of one, sizes counts, times seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from experiments.reporting.compare import Comparison, Method, learning_rates

_COSTS = """layers layer_parameters dense_layer_parameters layer_reduction total_parameters
    dense_total_parameters total_reduction flops_per_example dense_flops_per_example
    bytes int8_bytes"""
_TRIALS = f"""sweep trial state attempts data model method structure settings seed test_error
    test_loss test_int8_error validation_error validation_loss validation_int8_error {_COSTS}
    seconds train_seconds device git_revision overrides command folder problem"""
_GROUPS = f"""data model method structure settings is_best_setting test_error_mean test_error_std
    test_error_n validation_error_mean validation_error_std validation_error_n {_COSTS}
    seconds_mean trials"""
# The gain is missing without multipliers, and for dense.
_RATES = """data model settings split method structure gain learning_rates diverged_at best_rate
    error_mean error_std error_n is_at_edge dense_best_rate error_at_dense_best_rate
    best_rate_over_dense"""
_COUNTS = "seed|attempts|error_n|parameters|flops|bytes"
"""Columns of whole numbers, some of which may be missing."""
# What the files call the columns of the tables of runs, of groups and of curves.
_NAMES = {
    "layer_parameters_reduction": "layer_reduction",
    "parameters": "total_parameters",
    "dense_parameters": "dense_total_parameters",
    "parameters_reduction": "total_reduction",
    "flops": "flops_per_example",
    "dense_flops": "dense_flops_per_example",
    "is_best": "is_best_setting",
    "test_int8": "test_int8_error",
    "validation_int8": "validation_int8_error",
}
_MEANS = {name: f"{name}_mean" for name in ("test_error", "validation_error", "seconds", "error")}
_OF_RATES = {
    "learning_rate": "best_rate",
    "tried": "learning_rates",
    "diverged": "diverged_at",
    "at_dense": "error_at_dense_best_rate",
    "over_dense": "best_rate_over_dense",
}


def write_trials(
    path: Path,
    runs: pd.DataFrame,
    comparisons: Sequence[Comparison],
    links: Mapping[Path, str],
) -> None:
    """Writes a row of _TRIALS for every trial, finished or not.

    Args:
      path: of the files, without suffix.
      runs: the table of all trials.
      comparisons: those of them that count.
      links: by a trial's folder, the path to it from the report.
    """
    compared = pd.concat([pd.DataFrame(), *(_named(c, c.runs) for c in comparisons)])
    own = runs.rename(columns=_NAMES).drop(columns="layers")
    frame = compared.reindex(columns=_TRIALS.split()).combine_first(own)
    seeds = frame.seed.where(frame.seed.map(lambda seed: isinstance(seed, int)))
    _write(path, frame.assign(folder=frame.folder.map(links), seed=seeds), _TRIALS)


def write_groups(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Writes a row of _GROUPS for every group."""
    tables = [_named(c, c.groups.rename(columns=_MEANS)) for c in comparisons]
    frame = pd.concat([pd.DataFrame(columns=["records"]), *tables])
    trials = [" ".join(trial.name for trial in own) for own in frame.records]
    _write(path, frame.assign(trials=trials), _GROUPS)


def write_rates(path: Path, searches: Sequence[learning_rates.RateSearch]) -> None:
    """Writes a row of _RATES for every curve; nothing if there is none."""
    tables = [
        search.curves.assign(
            settings=search.settings,
            split=search.split,
            method=search.curves.method.map(_key),
            tried=search.curves.tried.map(_listed),
            diverged=search.curves.diverged.map(_listed),
            dense_best_rate=search.dense.learning_rate if search.dense else math.nan,
        )
        for search in searches
    ]
    if tables:
        _write(path, pd.concat(tables).rename(columns=_OF_RATES | _MEANS), _RATES)


def _named(comparison: Comparison, table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table as the files have it."""
    layers = " ".join(comparison.layer_names)
    return table.rename(columns=_NAMES).assign(method=table.method.map(_key), layers=layers)


def _write(path: Path, frame: pd.DataFrame, columns: str) -> None:
    frame = frame.reindex(columns=columns.split())
    counts = frame.filter(regex=_COUNTS).columns
    table = pa.Table.from_pandas(frame.astype(dict.fromkeys(counts, "Int64")), preserve_index=False)
    pyarrow.csv.write_csv(table, path.with_suffix(".csv"))
    pyarrow.parquet.write_table(table, path.with_suffix(".parquet"))


def _key(method: Method) -> str:
    return method.key


def _listed(rates: Sequence[float]) -> str:
    return " ".join(f"{rate:g}" for rate in rates)
