"""Tables for programs: every trial, group and curve of learning rates, as CSV and Parquet.

Errors and reductions are fractions of one, sizes counts, times seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from experiments.reporting.compare import Comparison, learning_rates
from experiments.reporting.trials import SPLITS

_COSTS = """layers layer_parameters dense_layer_parameters layer_reduction total_parameters
    dense_total_parameters total_reduction flops_per_example dense_flops_per_example"""
_TRIALS = f"""sweep trial state attempts data model method structure settings seed test_error
    test_loss validation_error validation_loss {_COSTS} seconds train_seconds device git_revision
    overrides command folder problem"""
_GROUPS = f"""data model method structure settings is_best_setting test_error_mean test_error_std
    test_error_n validation_error_mean validation_error_std validation_error_n {_COSTS}
    seconds_mean trials"""
# The gain is missing without multipliers, and for dense.
_RATES = """data model settings split method structure gain learning_rates diverged_at best_rate
    error_mean error_std error_n is_at_edge dense_best_rate error_at_dense_best_rate
    best_rate_over_dense"""
_KINDS = {
    name: kind
    for kind, names in (
        (pa.bool_(), "is_best_setting is_at_edge"),
        (
            pa.int64(),
            """attempts seed test_error_n validation_error_n error_n layer_parameters
            dense_layer_parameters total_parameters dense_total_parameters flops_per_example
            dense_flops_per_example""",
        ),
        (
            pa.string(),
            """sweep trial state data model method structure settings device git_revision overrides
            command folder problem layers trials split learning_rates diverged_at""",
        ),
    )
    for name in names.split()
}
"""Types of columns; all others are floats."""
# What the files call the columns of the table of runs and of groups.
_NAMES = {
    "layer_parameters_reduction": "layer_reduction",
    "parameters": "total_parameters",
    "dense_parameters": "dense_total_parameters",
    "parameters_reduction": "total_reduction",
    "flops": "flops_per_example",
    "dense_flops": "dense_flops_per_example",
    "is_best": "is_best_setting",
    **{f"{split}_error": f"{split}_error_mean" for split in SPLITS},
    "seconds": "seconds_mean",
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
    own = runs.assign(
        folder=runs.folder.map(links),
        seed=runs.seed.where(runs.seed.map(lambda seed: isinstance(seed, int))),
    )
    names = [name for name in _TRIALS.split() if name in own and name not in _COSTS.split()]
    _write(path, compared.reindex(own.index).assign(**own[names]), _TRIALS)


def write_groups(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Writes a row of _GROUPS for every group."""
    tables = [
        _named(c, c.groups).assign(
            trials=[" ".join(trial.name for trial in own) for own in c.groups.records]
        )
        for c in comparisons
    ]
    _write(path, pd.concat([pd.DataFrame(), *tables]), _GROUPS)


def write_rates(
    path: Path, searches: Iterable[tuple[Comparison, learning_rates.RateSearch]]
) -> None:
    """Writes a row of _RATES for every curve; nothing if there is none."""
    tables = [
        search.curves.assign(
            data=comparison.data,
            model=comparison.model,
            settings=search.settings,
            split=search.split,
            method=[method.key for method in search.curves.method],
            learning_rates=search.curves.tried.map(_listed),
            diverged_at=search.curves.diverged.map(_listed),
            dense_best_rate=search.dense.learning_rate if search.dense else None,
        ).rename(
            columns={
                "learning_rate": "best_rate",
                "error": "error_mean",
                "at_dense": "error_at_dense_best_rate",
                "over_dense": "best_rate_over_dense",
            }
        )
        for comparison, search in searches
    ]
    if tables:
        _write(path, pd.concat(tables), _RATES)


def _named(comparison: Comparison, table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table as the files have it."""
    return table.rename(columns=_NAMES).assign(
        method=[method.key for method in table.method], layers=" ".join(comparison.layer_names)
    )


def _write(path: Path, frame: pd.DataFrame, columns: str) -> None:
    schema = pa.schema([(name, _KINDS.get(name, pa.float64())) for name in columns.split()])
    frame = frame.reindex(columns=schema.names).astype(object).where(lambda f: f.notna(), None)
    table = pa.Table.from_pandas(frame, schema, preserve_index=False).replace_schema_metadata()
    pyarrow.csv.write_csv(table, path.with_suffix(".csv"))
    pyarrow.parquet.write_table(table, path.with_suffix(".parquet"))


def _listed(rates: Sequence[float]) -> str:
    return " ".join(f"{rate:g}" for rate in rates)
