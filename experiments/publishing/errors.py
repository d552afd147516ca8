"""How sure the test error of a model is: by its test images, and by other seeds."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import scipy.stats

from experiments.reporting.trials import Trial, read_sweeps

_CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A 95% interval."""

    low: float
    high: float


def errors_by_seed(trial: Trial, folders: Sequence[str | os.PathLike[str]]) -> dict[Any, float]:
    """Returns the test error by seed, of a run and of those that differ from it in the seed alone.

    Args:
      trial: the run, finished.
      folders: of sweeps, runs or kept runs.

    Raises:
      ValueError: if there is no other seed in the folders, or one of them has no runs.
    """
    found = {
        other.seed: other.outcome.errors["test"]
        for other in [*read_sweeps(folders), trial]
        if other.outcome and "test" in other.outcome.errors and other.settings == trial.settings
    }
    if len(found) < 2:
        raise ValueError(
            f"{', '.join(map(os.fspath, folders))}: no finished run there has the config of "
            f"{trial.folder} and another seed; name a folder with such runs, or none."
        )
    return dict(sorted(found.items()))


def interval_of_images(errors: int, examples: int) -> Interval:
    """Returns the interval of an error rate, had other test images been drawn: Wilson's."""
    found = scipy.stats.binomtest(errors, examples).proportion_ci(_CONFIDENCE, method="wilson")
    return Interval(float(found.low), float(found.high))


def interval_of_mean(errors: Mapping[Any, float]) -> Interval:
    """Returns the interval of the mean error over all seeds: Student's."""
    values = list(errors.values())
    spread = statistics.stdev(values) / len(values) ** 0.5
    reach = scipy.stats.t.ppf((1 + _CONFIDENCE) / 2, len(values) - 1) * spread
    return Interval(statistics.fmean(values) - reach, statistics.fmean(values) + reach)
