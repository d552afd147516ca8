"""Trials as a report sees them, read from the folders that sweeps and runs leave.

- `Trial`: one run of a sweep, finished or not.
- `SPLITS`: the splits whose errors are compared, the one to judge by first.
- `STARTS`: where models may have started.
- `read_sweeps`: reads every trial of sweeps, runs and kept runs.
- `folder_names`: what such folders are called.
- `read_runs`: reads them as the tidy table of runs.
- `MEASURES`, `SIZES`: its columns of what was measured, and of what was counted.
- `keep`: writes all that a report needs of trials to one small file.
"""

from experiments.reporting.trials.kept_runs import keep
from experiments.reporting.trials.read import folder_names, read_sweeps
from experiments.reporting.trials.table_of_runs import MEASURES, SIZES, read_runs
from experiments.reporting.trials.trial import SPLITS, STARTS, Trial

__all__ = [
    "MEASURES",
    "SIZES",
    "SPLITS",
    "STARTS",
    "Trial",
    "folder_names",
    "keep",
    "read_runs",
    "read_sweeps",
]
