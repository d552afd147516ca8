"""KFC against low rank within a series: at equal sizes, and at equal errors."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from experiments.reporting.compare.groups import Comparison, Group
from experiments.reporting.compare.series import Series, series_of

# Ranks are whole numbers, so that sizes of two methods seldom meet exactly.
EQUAL_SIZE = 1.1
"""A KFC layer counts as of a low-rank layer's size up to this many times its parameters."""

_DRAWS = 2_000


@dataclasses.dataclass(frozen=True)
class EqualSize:
    """A low-rank layer and the largest KFC layer that is no larger, or by 10% at most.

    Attributes:
      low_rank: the low-rank group.
      kfc: the KFC group. Of several of one size it is the one with the highest error, so that
        having tried more of them is no advantage.
      difference: error of KFC minus error of low rank.
      standard_error: of the difference; None without at least 2 seeds each.
    """

    low_rank: Group
    kfc: Group
    difference: float
    standard_error: float | None

    @property
    def is_clear(self) -> bool | None:
        """Whether the difference is over two standard errors; None without a standard error."""
        if self.standard_error is None:
            return None
        return abs(self.difference) > 2 * self.standard_error


@dataclasses.dataclass(frozen=True)
class EqualError:
    """How many times fewer layer parameters KFC needs than a low-rank layer of the same error.

    Attributes:
      low_rank: the low-rank group.
      kfc_parameters: where KFC's curve reaches that error; its smallest layer if that one has it
        already; None if no layer has it.
      ratio: parameters of low rank over those; over those of the largest layer if none reaches it.
      low: lower end of the 95% interval.
      high: upper end.
      is_bounded: whether the ratio is a bound, as KFC's curve ends before it: the smallest layer is
        good enough, or the largest is not.
    """

    low_rank: Group
    kfc_parameters: float | None
    ratio: float
    low: float
    high: float
    is_bounded: bool


def matches(comparison: Comparison, split: str) -> list[EqualSize]:
    """Returns all pairs of equal size in a comparison.

    Only models of one series are paired: the same trunk, the same start and as many epochs. So the
    count in a headline is that of the rows in the tables.
    """
    return [pair for one in series_of(comparison, split) for pair in at_equal_size(one, split)]


def at_equal_size(series: Series, split: str) -> list[EqualSize]:
    """Pairs every low-rank layer of the series with the KFC layer of its size, if there is one."""
    kfc, low_rank = series.kfc, series.low_rank
    found = []
    for rival in low_rank:
        limit = rival.sizes["layer_parameters"] * EQUAL_SIZE
        no_larger = [group for group in kfc if group.sizes["layer_parameters"] <= limit]
        if no_larger:
            ours = max(no_larger, key=lambda g: (g.sizes["layer_parameters"], g.error(split).mean))
            a, b = ours.error(split), rival.error(split)
            error = None
            if a.std is not None and b.std is not None:
                error = math.sqrt(a.std**2 / a.n + b.std**2 / b.n)
            found.append(EqualSize(rival, ours, a.mean - b.mean, error))
    return found


def at_equal_error(series: Series, split: str) -> list[EqualError]:
    """Reads off KFC's curve, for every low-rank layer, the size at which it has the same error.

    The curve joins the best layers up to every size, linearly in error and in the logarithm of
    size. The interval comes from drawing all means anew 2,000 times, from normal distributions with
    the standard deviation that the structures of the series have on average over their seeds.
    """
    kfc, low_rank = series.kfc, series.low_rank
    if not kfc:
        return []
    groups = [*kfc, *low_rank]
    variances = [e.std**2 for g in groups if (e := g.error(split)).std is not None]
    deviation = math.sqrt(sum(variances) / len(variances)) if variances else 0.0
    means = np.array([group.error(split).mean for group in groups])
    scales = np.array([deviation / math.sqrt(group.error(split).n) for group in groups])
    noise = np.random.default_rng(0).standard_normal((_DRAWS, len(groups)))
    draws = means + scales * noise
    sizes = np.log([group.sizes["layer_parameters"] for group in kfc])
    found = []
    for index, group in enumerate(low_rank, len(kfc)):
        own = math.log(group.sizes["layer_parameters"])
        log_size, is_bounded = _where(sizes, means[: len(kfc)], means[index])
        ratios = [math.exp(own - _where(sizes, draw[: len(kfc)], draw[index])[0]) for draw in draws]
        low, high = np.quantile(ratios, [0.025, 0.975]).tolist()
        is_reached = means[: len(kfc)].min() <= means[index]
        needed = math.exp(log_size) if is_reached else None
        found.append(EqualError(group, needed, math.exp(own - log_size), low, high, is_bounded))
    return found


def _where(
    sizes: Float[np.ndarray, " layers"], errors: Float[np.ndarray, " layers"], error: float
) -> tuple[float, bool]:
    """Returns where a falling curve reaches an error, and whether that is only a bound.

    Args:
      sizes: logarithms of sizes, rising.
      errors: at those sizes; the curve is their running minimum.
      error: to reach.
    """
    curve = np.minimum.accumulate(errors)
    index = int(np.argmax(curve <= error)) if curve[-1] <= error else None
    if index is None:
        return float(sizes[-1]), True
    if index == 0:
        return float(sizes[0]), True
    fall = (curve[index - 1] - error) / (curve[index - 1] - curve[index])
    return float(sizes[index - 1] + fall * (sizes[index] - sizes[index - 1])), False
