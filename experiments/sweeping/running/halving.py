"""Early stopping of hopeless trials by asynchronous successive halving (Li et al., 2018).

Trials compete only with those that train the same model on the same data with the same seed: a
small model's higher error is what a sweep over sizes is there to find out, not a reason to stop it.
So it pays for sweeps that also tune learning rates and the like.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.runs import RunFolder
from experiments.sweeping.running.trial_state import RUNNING, TrialState

_TUNED = ("optimizer", "train", "augmentation")


class SuccessiveHalving:
    """Finds running trials that are not among the best `1/eta` of their rivals at a rung.

    The rungs are at `1/eta`, `1/eta^2`, ... of a trial's epochs, from the first whole epoch on. A
    trial is compared once per rung, when it gets there, with all rivals that have been there.
    """

    def __init__(self, workdir: Path, configs: Mapping[str, Any], eta: int = 3):
        """Compares the trials with these configs (by name, nested) in `workdir`."""
        self._workdir, self._configs, self._eta = workdir, configs, eta
        self._judged: set[tuple[str, int]] = set()
        self._errors: dict[str, dict[int, float]] = {}

    def __call__(self, trial_states: list[TrialState]) -> set[str]:
        """Returns the names of the running trials to stop now."""
        for trial_state in trial_states:
            if trial_state.attempts:
                self._errors[trial_state.name] = self._rung_errors(trial_state.name)
        hopeless = set()
        for trial_state in trial_states:
            if trial_state.state != RUNNING:
                continue
            for rung, error in self._errors[trial_state.name].items():
                if (trial_state.name, rung) in self._judged:
                    continue
                self._judged.add((trial_state.name, rung))
                if not self._is_among_best(trial_state.name, rung, error):
                    hopeless.add(trial_state.name)
        return hopeless

    def _is_among_best(self, name: str, rung: int, error: float) -> bool:
        errors = sorted(
            errors[rung]
            for other, errors in self._errors.items()
            if rung in errors and self._rivals(other) == self._rivals(name)
        )
        return error <= errors[math.ceil(len(errors) / self._eta) - 1]

    def _rivals(self, name: str) -> str:
        config = self._configs[name].to_dict()
        return json.dumps({k: v for k, v in config.items() if k not in _TUNED}, sort_keys=True)

    def _rung_errors(self, name: str) -> dict[int, float]:
        """Returns a trial's validation error at each rung that it has reached, by rung."""
        epochs = self._configs[name].train.num_epochs
        errors: dict[int, float] = {}
        points = [
            (metrics["epoch"], metrics["validation/error"])
            for metrics in RunFolder.read_metrics(self._workdir / name)
            if "validation/error" in metrics
        ]
        rung = 1
        while (epoch := max(1, math.ceil(epochs / self._eta**rung))) < epochs:
            reached = [error for at, error in points if at >= epoch]
            if reached:
                errors[rung] = reached[0]
            if epoch == 1:
                break
            rung += 1
        return errors
