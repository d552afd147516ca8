"""Sweeps: many runs of `experiments.train` that differ in some fields of a base config.

The names here are what a sweep config (`configs/sweeps/*.py`) writes its trials with; the command
is `experiments.sweep`. A sweep is a folder: `sweep.json` is the plan, and every trial has a folder
of its own, the run's, with `trial.json` (its state) and `log.txt` in it.
"""

from experiments.sweeping.layers import (
    dense,
    kfc,
    low_rank,
    low_rank_for,
    stored_as,
    structures_for,
)
from experiments.sweeping.overrides import Overrides, product, seeds, values, zipped
from experiments.sweeping.trials import trial_folder

__all__ = [
    "Overrides",
    "dense",
    "kfc",
    "low_rank",
    "low_rank_for",
    "product",
    "seeds",
    "stored_as",
    "structures_for",
    "trial_folder",
    "values",
    "zipped",
]
