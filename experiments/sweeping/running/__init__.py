"""Running a sweep: its trials go from pending to done, whatever happens on the way.

- `load_plan`, `Plan`: the trials of a sweep config.
- `preview`: where its trials stand, and whether they could run; runs nothing.
- `run_sweep`: runs them.
- `SweepInterrupted`: a signal stopped it.
- `TrialState`: how far a trial came, as its `trial.json` says.
- `MAX_ATTEMPTS`: how often a trial that fails is tried.
- `Executor`, `LocalExecutor`, `RayExecutor`: what runs the trials.
"""

from experiments.sweeping.running.executors import Executor, LocalExecutor
from experiments.sweeping.running.plan import Plan, load_plan
from experiments.sweeping.running.ray_executor import RayExecutor
from experiments.sweeping.running.runner import (
    MAX_ATTEMPTS,
    SweepInterrupted,
    preview,
    run_sweep,
)
from experiments.sweeping.running.trial_state import TrialState

__all__ = [
    "MAX_ATTEMPTS",
    "Executor",
    "LocalExecutor",
    "Plan",
    "RayExecutor",
    "SweepInterrupted",
    "TrialState",
    "load_plan",
    "preview",
    "run_sweep",
]
