"""The tidy table of runs, from which every comparison, table and picture of a report is made."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Sequence
from typing import Any

import pandas as pd

from experiments.reporting.trials.read import read_sweeps
from experiments.reporting.trials.trial import SPLITS, Outcome, Trial

MEASURES = (
    *(f"{split}_{what}" for split in SPLITS for what in ("error", "loss", "before", "int8")),
    "output_error",
    "seconds",
    "train_seconds",
)
"""Columns of floats that differ from seed to seed: NaN where nothing was measured."""
SIZES = ("parameters", "flops")
"""Columns of whole numbers, each with another one of `dense_` and its name."""

_NOTHING = Outcome({}, {}, {}, (), *[math.nan] * 6, device="", git_revision="")
_OF_TRIALS = (
    "sweep folder state attempts seed command problem has_diverged start"  # as a trial has them
)
_OF_OUTCOMES = "layers seconds train_seconds device git_revision"


def read_runs(paths: Sequence[str | os.PathLike[str]]) -> pd.DataFrame:
    """Returns a row for each trial that `read_sweeps` finds, finished or not; raises as it does.

    Its columns are MEASURES, SIZES (NaN until a trial is finished), `bytes` and `int8_bytes` of its
    arrays (NaN in older runs) and what a trial says of itself: `data`, `model`, `sweep`, `trial`,
    `folder`, `state`, `seed`, `start`, `epochs`, `learning_rate`, `gain` (NaN without multipliers),
    `layers`, `fields` (of the config, that may change its numbers) and the `record` itself among
    them.
    """
    table = pd.DataFrame(map(_row, read_sweeps(paths)), dtype=object)
    # These stay whole numbers, although some may be missing.
    return table.infer_objects().assign(seed=table.seed, attempts=table.attempts)


def _row(trial: Trial) -> dict[str, Any]:
    config, outcome = trial.config, trial.outcome or _NOTHING
    data, model = trial.task
    measured = {
        "error": outcome.errors,
        "loss": outcome.losses,
        "before": outcome.before,
        "int8": outcome.int8_errors,
    }
    outputs = outcome.output_errors.values()
    gain = config.get("optimizer.factor_gain", 1.0)
    return {
        "data": data,
        "model": model,
        "trial": trial.name,
        **{name: getattr(trial, name) for name in _OF_TRIALS.split()},
        "overrides": json.dumps(trial.overrides),
        "epochs": config.get("train.num_epochs", 0),
        "learning_rate": config.get("optimizer.learning_rate", math.nan),
        "gain": float(gain) if config.get("optimizer.scale_factors", True) else math.nan,
        "fields": trial.settings,
        **{f"{s}_{n}": by.get(s, math.nan) for n, by in measured.items() for s in SPLITS},
        "output_error": statistics.fmean(outputs) if outputs else math.nan,
        **{name: getattr(outcome, name) for name in _OF_OUTCOMES.split()},
        **{name: getattr(outcome, name) for size in SIZES for name in (size, f"dense_{size}")},
        "bytes": outcome.bytes.get("float32", math.nan),
        "int8_bytes": outcome.bytes.get("int8", math.nan),
        "record": trial,
    }
