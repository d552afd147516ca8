"""The tidy table of runs, from which every comparison, table and picture of a report is made."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from experiments.reporting.trials.read import read_sweeps
from experiments.reporting.trials.start_points import start_of
from experiments.reporting.trials.trial import SPLITS, Outcome, Trial

MEASURES = (
    *(f"{split}_{what}" for split in SPLITS for what in ("error", "loss", "before")),
    "output_error",
    "seconds",
    "train_seconds",
)
"""Columns of floats that differ from seed to seed: NaN where nothing was measured."""
SIZES = ("parameters", "flops")
"""Columns of whole numbers, each with another one of `dense_` and its name."""

_NOTHING = Outcome({}, {}, {}, (), *[math.nan] * 6, device="", git_revision="")


def read_runs(paths: Sequence[str | os.PathLike[str]]) -> pd.DataFrame:
    """Returns the table of all trials that `read_sweeps` finds, and raises as it does."""
    return run_table(read_sweeps(paths))


def run_table(trials: Iterable[Trial]) -> pd.DataFrame:
    """Returns a row for each trial, finished or not.

    Its columns are MEASURES, SIZES (NaN until a trial is finished) and what a trial says of itself:
    `data`, `model`, `sweep`, `trial`, `folder`, `state`, `seed`, `start`, `epochs`,
    `learning_rate`, `gain` (NaN without multipliers), `layers`, `fields` (of the config, that may
    change its numbers) and the `record` itself among them.
    """
    rows = [_row(trial) for trial in trials]
    table = pd.DataFrame(rows)
    # Whole numbers, not floats, although some may be missing.
    return table.assign(**{c: _as_they_are(row[c] for row in rows) for c in ("seed", "attempts")})


def _row(trial: Trial) -> dict[str, Any]:
    config, outcome = trial.config, trial.outcome or _NOTHING
    data, model = trial.task
    outputs = outcome.output_errors.values()
    gain = config.get("optimizer.factor_gain", 1.0)
    return {
        "data": data,
        "model": model,
        "sweep": trial.sweep,
        "trial": trial.name,
        "folder": trial.folder,
        "state": trial.state,
        "attempts": trial.attempts,
        "seed": trial.seed,
        "overrides": json.dumps(trial.overrides),
        "command": trial.command,
        "problem": trial.problem,
        "has_diverged": trial.has_diverged,
        "start": start_of(trial),
        "epochs": config.get("train.num_epochs", 0),
        "learning_rate": config.get("optimizer.learning_rate", math.nan),
        "gain": float(gain) if config.get("optimizer.scale_factors", True) else math.nan,
        "fields": trial.settings,
        "layers": outcome.layers,
        **{f"{s}_error": outcome.errors.get(s, math.nan) for s in SPLITS},
        **{f"{s}_loss": outcome.losses.get(s, math.nan) for s in SPLITS},
        **{f"{s}_before": outcome.before.get(s, math.nan) for s in SPLITS},
        "output_error": statistics.fmean(outputs) if outputs else math.nan,
        "seconds": outcome.seconds,
        "train_seconds": outcome.train_seconds,
        **{name: getattr(outcome, name) for size in SIZES for name in (size, f"dense_{size}")},
        "device": outcome.device,
        "git_revision": outcome.git_revision,
        "record": trial,
    }


def _as_they_are(values: Iterable[Any]) -> pd.Series:
    return pd.Series(list(values), dtype=object)
