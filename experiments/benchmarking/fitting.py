"""The fit of the cost model's constants to measured times, and how good it is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import nnls

from kfc_jax.product.cost_model import KINDS, Costs, Work

_FACTORS = (1.6, 1.25, 1.1)  # by which constants are changed
_LEAST_GAIN = 1e-6
_WEIGHT_OF_ERRORS = 0.05
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
      median_error: the median of the relative errors.
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


def fit(measurements: Sequence[Measurement], loops: bool, known: Costs | None = None) -> Costs:
    """Returns the constants whose choices lose the least, and which predict well.

    For every cache size of CACHES, non-negative least squares on relative errors. Programs far
    slower than the fastest of their group, which no plan would choose, weigh less. Then single
    constants are changed as long as that makes the choices better; so are those of ``known``.

    Args:
      measurements: the measurements of several groups.
      loops: whether the platform's plans may loop over samples.
      known: constants to start from as well, if they are of such a platform.
    """
    found = []
    for cache in CACHES if loops else (math.inf,):
        table = _Table.of(measurements, cache)
        starts = [table.least_squares()]
        if known and known.loops == loops:
            starts.append(np.array([getattr(known, kind) for kind in KINDS]))
        for start in starts:
            constants, loss = table.improve(start)
            found.append((loss, len(found), Costs(*map(float, constants), cache, loops)))
    return min(found)[2]


@dataclasses.dataclass(frozen=True, eq=False)
class _Table:
    """Measurements as arrays, with the work on a machine of one cache size."""

    work: Float[np.ndarray, "programs kinds"]
    seconds: Float[np.ndarray, " programs"]
    fastest: Float[np.ndarray, " programs"]  # of each program's group
    groups: list[Int[np.ndarray, " members"]]

    @classmethod
    def of(cls, measurements: Sequence[Measurement], cache: float) -> _Table:
        best, members = _fastest(measurements), {}
        for index, m in enumerate(measurements):
            members.setdefault(m.group, []).append(index)
        work = [m.work_with(cache) for m in measurements]
        return cls(
            np.array([[getattr(w, kind) for kind in KINDS] for w in work]),
            np.array([m.seconds for m in measurements]),
            np.array([best[m.group] for m in measurements]),
            [np.array(indices) for indices in members.values()],
        )

    def least_squares(self) -> Float[np.ndarray, " kinds"]:
        weights = self.fastest / self.seconds
        relative = self.work / self.seconds[:, None] * weights[:, None]
        scale = np.maximum(np.abs(relative).max(0), 1e-300)  # FLOPs and calls differ by far
        return nnls(relative / scale, weights)[0] / scale

    def improve(self, constants: Float[np.ndarray, " kinds"]) -> tuple[np.ndarray, float]:
        """Returns better constants, by changing one after the other, and their loss."""
        loss = self.loss(constants)
        for factor in _FACTORS:
            improved = True
            while improved:
                improved = False
                for index in range(len(KINDS)):
                    for change in (factor, 1 / factor):
                        changed = constants.copy()
                        changed[index] *= change
                        if (changed_loss := self.loss(changed)) < loss - _LEAST_GAIN:
                            constants, loss, improved = changed, changed_loss, True
        return constants, loss

    def loss(self, constants: Float[np.ndarray, " kinds"]) -> float:
        """Returns how much the choices lose, and a little of how far predictions are off."""
        predicted = self.work @ constants
        chosen = np.array([g[np.argmin(predicted[g])] for g in self.groups])
        lost = np.log(self.seconds[chosen] / self.fastest[chosen])
        near = self.seconds < 2 * self.fastest
        off = np.median(np.abs(predicted / self.seconds - 1)[near])
        return float(lost.mean() + _WEIGHT_OF_ERRORS * off)


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
