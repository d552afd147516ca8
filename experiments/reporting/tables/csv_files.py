"""The tables: every trial, and every group of seeds, as CSV and Parquet.

Errors and reductions are fractions of one, sizes counts, times seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from experiments.reporting.compare import Comparison, Group
from experiments.reporting.trials import SPLITS, Trial

Columns = Mapping[str, pa.DataType]

_COSTS: Columns = {
    "layers": pa.string(),
    "layer_parameters": pa.int64(),
    "dense_layer_parameters": pa.int64(),
    "layer_reduction": pa.float64(),
    "total_parameters": pa.int64(),
    "dense_total_parameters": pa.int64(),
    "total_reduction": pa.float64(),
    "flops_per_example": pa.int64(),
    "dense_flops_per_example": pa.int64(),
}

_TRIAL_COLUMNS: Columns = {
    "sweep": pa.string(),
    "trial": pa.string(),
    "state": pa.string(),
    "attempts": pa.int64(),
    "data": pa.string(),
    "model": pa.string(),
    "method": pa.string(),
    "structure": pa.string(),
    "settings": pa.string(),
    "seed": pa.int64(),
    **{f"{split}_{what}": pa.float64() for split in SPLITS for what in ("error", "loss")},
    **_COSTS,
    "seconds": pa.float64(),
    "train_seconds": pa.float64(),
    "device": pa.string(),
    "git_revision": pa.string(),
    "overrides": pa.string(),
    "command": pa.string(),
    "folder": pa.string(),
    "problem": pa.string(),
}

_GROUP_COLUMNS: Columns = {
    "data": pa.string(),
    "model": pa.string(),
    "method": pa.string(),
    "structure": pa.string(),
    "settings": pa.string(),
    "is_best_setting": pa.bool_(),
    **{
        f"{split}_error_{what}": kind
        for split in SPLITS
        for what, kind in (("mean", pa.float64()), ("std", pa.float64()), ("n", pa.int64()))
    },
    **_COSTS,
    "seconds_mean": pa.float64(),
    "trials": pa.string(),
}


def write_trials(
    path: Path,
    trials: Sequence[Trial],
    comparisons: Sequence[Comparison],
    links: Mapping[Path, str],
) -> None:
    """Writes a row of _TRIAL_COLUMNS for every trial, finished or not.

    Args:
      path: of the files, without suffix.
      trials: the trials.
      comparisons: the groups that they are in.
      links: by a trial's folder, the path to it from the report.
    """
    groups = {
        trial.folder: (comparison, group)
        for comparison in comparisons
        for group in comparison.groups
        for trial in group.trials
    }
    rows = [_trial_row(trial, groups.get(trial.folder), links[trial.folder]) for trial in trials]
    write_table(path, rows, _TRIAL_COLUMNS)


def write_groups(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Writes a row of _GROUP_COLUMNS for every group."""
    rows = [_group_row(comparison, g) for comparison in comparisons for g in comparison.groups]
    write_table(path, rows, _GROUP_COLUMNS)


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Columns) -> None:
    """Writes `path` with the suffixes `.csv` and `.parquet`."""
    table = pa.Table.from_pylist(list(rows), schema=pa.schema(list(columns.items())))
    pyarrow.csv.write_csv(table, path.with_suffix(".csv"))
    pyarrow.parquet.write_table(table, path.with_suffix(".parquet"))


def _trial_row(trial: Trial, place: tuple[Comparison, Group] | None, link: str) -> dict[str, Any]:
    outcome = trial.outcome
    row: dict[str, Any] = {
        "sweep": trial.sweep,
        "trial": trial.name,
        "state": trial.state,
        "attempts": trial.attempts,
        "data": trial.task[0],
        "model": trial.task[1],
        "seed": trial.seed if isinstance(trial.seed, int) else None,
        "overrides": json.dumps(trial.overrides),
        "command": trial.command,
        "folder": link,
        "problem": trial.problem,
    }
    if outcome:
        for split in outcome.errors:
            row[f"{split}_error"] = outcome.errors[split]
            row[f"{split}_loss"] = outcome.losses[split]
        row["seconds"], row["train_seconds"] = outcome.seconds, outcome.train_seconds
        row["device"], row["git_revision"] = outcome.device, outcome.git_revision
    if place:
        comparison, group = place
        row |= _identity(group) | _costs(comparison, group)
    return row


def _group_row(comparison: Comparison, group: Group) -> dict[str, Any]:
    row = {"data": comparison.data, "model": comparison.model, **_identity(group)}
    row["is_best_setting"] = group.is_best
    for split in SPLITS:
        if error := group.error(split):
            row[f"{split}_error_mean"] = error.mean
            row[f"{split}_error_std"] = error.std
            row[f"{split}_error_n"] = error.n
    row |= _costs(comparison, group)
    row["seconds_mean"] = group.seconds
    row["trials"] = " ".join(trial.name for trial in group.trials)
    return row


def _identity(group: Group) -> dict[str, Any]:
    return {
        "method": group.method.key,
        "structure": group.structure,
        "settings": group.settings,
    }


def _costs(comparison: Comparison, group: Group) -> dict[str, Any]:
    sizes, dense = group.sizes, group.dense_sizes
    return {
        "layers": " ".join(comparison.layer_names),
        "layer_parameters": sizes["layer_parameters"],
        "dense_layer_parameters": dense["layer_parameters"],
        "layer_reduction": group.reduction("layer_parameters"),
        "total_parameters": sizes["parameters"],
        "dense_total_parameters": dense["parameters"],
        "total_reduction": group.reduction("parameters"),
        "flops_per_example": sizes["flops"],
        "dense_flops_per_example": dense["flops"],
    }
