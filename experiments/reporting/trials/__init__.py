"""A trial as a report sees it, read from the folders that sweeps and runs leave.

- `Trial`: one run of a sweep, finished or not.
- `Outcome`: what a finished trial reached.
- `SPLITS`: the splits whose errors are compared, the one to judge by first.
- `Spread`: mean and spread of a number over seeds.
- `read_sweeps`: reads every trial of sweeps, runs and kept runs.
- `keep`: writes all that a report needs of trials to one small file.
"""

from experiments.reporting.trials.kept_runs import keep
from experiments.reporting.trials.read import read_sweeps
from experiments.reporting.trials.spread import Spread
from experiments.reporting.trials.trial import SPLITS, Outcome, Trial

__all__ = ["SPLITS", "Outcome", "Spread", "Trial", "keep", "read_sweeps"]
