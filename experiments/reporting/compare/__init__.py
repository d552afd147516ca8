"""Runs side by side: grouped over seeds, in series, against low rank and against dense.

- `compare`: groups runs over seeds, apart for every data set and model.
- `Comparison`: all runs of one data set and model, as tables.
- `Method`: a way of making fully connected layers, and how it looks in pictures.
- `DENSE`: the method of dense layers.
- `LOW_RANK`: the method of low-rank layers.
- `Series`: groups that were made in one way and differ in their layers alone.
- `series_of`: the series of a comparison.
- `started_groups`: groups by where they started.
- `against_low_rank`: KFC and low rank at equal size and at equal error (a module).
- `near_dense`: Pareto fronts, and the smallest models near dense (a module).
- `learning_rates`: searches for learning rates (a module).
"""

from experiments.reporting.compare import against_low_rank, learning_rates, near_dense
from experiments.reporting.compare.groups import Comparison, compare
from experiments.reporting.compare.methods import DENSE, LOW_RANK, Method
from experiments.reporting.compare.series import Series, series_of, started_groups

__all__ = [
    "DENSE",
    "LOW_RANK",
    "Comparison",
    "Method",
    "Series",
    "against_low_rank",
    "compare",
    "learning_rates",
    "near_dense",
    "series_of",
    "started_groups",
]
