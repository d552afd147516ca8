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

_TEXT, _COUNT, _NUMBER, _SAYS = pa.string(), pa.int64(), pa.float64(), pa.bool_()

_IDENTITY = {"data": _TEXT, "model": _TEXT, "method": _TEXT, "structure": _TEXT, "settings": _TEXT}
_COSTS = {
    "layers": _TEXT,
    "layer_parameters": _COUNT,
    "dense_layer_parameters": _COUNT,
    "layer_reduction": _NUMBER,
    "total_parameters": _COUNT,
    "dense_total_parameters": _COUNT,
    "total_reduction": _NUMBER,
    "flops_per_example": _COUNT,
    "dense_flops_per_example": _COUNT,
}
_TRIALS = {
    "sweep": _TEXT,
    "trial": _TEXT,
    "state": _TEXT,
    "attempts": _COUNT,
    **_IDENTITY,
    "seed": _COUNT,
    **{f"{split}_{what}": _NUMBER for split in SPLITS for what in ("error", "loss")},
    **_COSTS,
    "seconds": _NUMBER,
    "train_seconds": _NUMBER,
    **dict.fromkeys(("device", "git_revision", "overrides", "command", "folder", "problem"), _TEXT),
}
_GROUPS = {
    **_IDENTITY,
    "is_best_setting": _SAYS,
    **{
        f"{split}_error_{what}": kind
        for split in SPLITS
        for what, kind in (("mean", _NUMBER), ("std", _NUMBER), ("n", _COUNT))
    },
    **_COSTS,
    "seconds_mean": _NUMBER,
    "trials": _TEXT,
}
_RATES = {
    "data": _TEXT,
    "model": _TEXT,
    "settings": _TEXT,
    "split": _TEXT,
    "method": _TEXT,
    "structure": _TEXT,
    "gain": _NUMBER,  # none without multipliers, and for dense
    "learning_rates": _TEXT,
    "diverged_at": _TEXT,
    "best_rate": _NUMBER,
    "error_mean": _NUMBER,
    "error_std": _NUMBER,
    "error_n": _COUNT,
    "is_at_edge": _SAYS,
    "dense_best_rate": _NUMBER,
    "error_at_dense_best_rate": _NUMBER,
    "best_rate_over_dense": _NUMBER,
}
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
    names = [name for name in _TRIALS if name in own and name not in _COSTS]
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


def _write(path: Path, frame: pd.DataFrame, columns: Mapping[str, pa.DataType]) -> None:
    frame = frame.reindex(columns=list(columns)).astype(object).where(lambda f: f.notna(), None)
    table = pa.Table.from_pandas(frame, pa.schema(list(columns.items())), preserve_index=False)
    pyarrow.csv.write_csv(table.replace_schema_metadata(), path.with_suffix(".csv"))
    pyarrow.parquet.write_table(table.replace_schema_metadata(), path.with_suffix(".parquet"))


def _listed(rates: Sequence[float]) -> str:
    return " ".join(f"{rate:g}" for rate in rates)
