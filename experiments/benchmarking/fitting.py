"""The fit of the cost model's constants to measured times, and how good it is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from scipy.optimize import nnls

from kfc_jax.costs import KINDS, Costs, Work

CACHES = tuple(mib * 2**20 for mib in (1, 2, 4, 8, 16))


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One timed program.

    Attributes:
      group: what it competes in: programs of the same group do the same work.
      work_with: gives its work with a cache of so many bytes.
      seconds: what it took.
    """

    group: Hashable
    work_with: Callable[[float], Work]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Quality:
    """How well constants predict measurements.

    Attributes:
      median_error: of the relative errors.
      error_90: their 90th percentile.
      good_choices: fraction of groups in which the program predicted to be fastest is within 10%
        of the fastest.
      mean_loss: geometric mean over groups of the chosen program's time over the fastest's.
      worst_loss: the largest such ratio.
    """

    median_error: float
    error_90: float
    good_choices: float
    mean_loss: float
    worst_loss: float


def fit(measurements: Sequence[Measurement], loops: bool) -> Costs:
    """Returns the constants that predict the measurements best.

    For every cache size of CACHES, non-negative least squares on relative errors. Programs far
    slower than the fastest of their group, which no plan would choose, weigh less. Of the cache
    sizes the one is kept whose choices lose the least.

    Args:
      measurements: of several groups.
      loops: whether the platform's plans may loop over samples.
    """
    best = _fastest(measurements)
    seconds = np.array([m.seconds for m in measurements])
    weights = np.array([best[m.group] / m.seconds for m in measurements])
    fitted = []
    for cache in CACHES if loops else (math.inf,):
        work = [m.work_with(cache) for m in measurements]
        features = np.array([[getattr(w, kind) for kind in KINDS] for w in work])
        relative = features / seconds[:, None] * weights[:, None]
        scale = np.maximum(np.abs(relative).max(0), 1e-300)  # FLOPs and calls differ by far
        constants, _ = nnls(relative / scale, weights)
        fitted.append(Costs(*map(float, constants / scale), cache=cache, loops=loops))
    return min(fitted, key=lambda costs: _error(costs, measurements))


def quality(costs: Costs, measurements: Sequence[Measurement]) -> Quality:
    """Returns how well constants predict measurements, and how good the choices by them are."""
    best = _fastest(measurements)
    predicted = [costs.seconds(m.work_with(costs.cache)) for m in measurements]
    errors = [abs(p / m.seconds - 1) for p, m in zip(predicted, measurements, strict=True)]
    losses = list(_losses(predicted, measurements, best).values())
    return Quality(
        median_error=float(np.median(errors)),
        error_90=float(np.percentile(errors, 90)),
        good_choices=float(np.mean(np.array(losses) <= 1.1)),
        mean_loss=float(np.exp(np.mean(np.log(losses)))),
        worst_loss=max(losses),
    )


def losses(costs: Costs, measurements: Sequence[Measurement]) -> dict[Hashable, float]:
    """Returns for every group the chosen program's time over the fastest one's."""
    predicted = [costs.seconds(m.work_with(costs.cache)) for m in measurements]
    return _losses(predicted, measurements, _fastest(measurements))


def _error(costs: Costs, measurements: Sequence[Measurement]) -> float:
    of = quality(costs, measurements)
    return math.log(of.mean_loss) + 0.1 * of.median_error


def _fastest(measurements: Sequence[Measurement]) -> dict[Hashable, float]:
    best: dict[Hashable, float] = {}
    for m in measurements:
        best[m.group] = min(m.seconds, best.get(m.group, math.inf))
    return best


def _losses(
    predicted: Sequence[float],
    measurements: Sequence[Measurement],
    best: dict[Hashable, float],
) -> dict[Hashable, float]:
    chosen: dict[Hashable, tuple[float, float]] = {}
    for guess, m in zip(predicted, measurements, strict=True):
        chosen[m.group] = min((guess, m.seconds), chosen.get(m.group, (math.inf, math.inf)))
    return {group: seconds / best[group] for group, (_, seconds) in chosen.items()}
