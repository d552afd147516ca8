"""Sharing a budget between layers: one option for each, of the smallest total error or cost.

An option has a cost, an integer, and a squared error; both add up over the layers. A *front* is
the options of one layer of which no other has both less: sorted by rising cost, the error falls.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

_MAX_PAIRS = 2**21  # options of two layers that are combined at once
_HALVINGS = 60  # of the interval of prices


@dataclasses.dataclass(frozen=True, eq=False)
class Front:
    """The options of a layer, or of several layers together, that are worth taking.

    Attributes:
      costs: the costs, which rise.
      squares: the squared errors, which fall.
      choices: for every option, the chosen index of each layer's list of options.
    """

    costs: Int[np.ndarray, " options"]
    squares: Float[np.ndarray, " options"]
    choices: Int[np.ndarray, "options layers"]

    @classmethod
    def of(cls, costs: Sequence[int] | np.ndarray, squares: Sequence[float] | np.ndarray) -> Front:
        """Returns the front of a layer's list of options."""
        costs, squares = np.asarray(costs, np.int64), np.asarray(squares, np.float64)
        keep = _pareto(costs, squares)
        return cls(costs[keep], squares[keep], keep[:, None])


def least_error(fronts: Sequence[Front], limit: int) -> list[int]:
    """Returns for every layer the option it takes, for the smallest total error within ``limit``.

    It is the optimum, unless three or more layers have more than millions of combinations; their
    fronts are then thinned out evenly. The limit is never passed.

    Raises:
      ValueError: if no choice is within the limit.
    """
    if sum(int(front.costs[0]) for front in fronts) > limit:
        raise ValueError(f"No choice has a cost within {limit}.")
    used = [(front.squares, front.costs) for front in fronts]
    first, last = _two_halves(_narrowed(fronts, used, limit), limit)
    other = np.searchsorted(last.costs, limit - first.costs, side="right") - 1
    squares = np.where(other >= 0, first.squares + last.squares[other], math.inf)
    best = int(np.argmin(squares))  # the cheapest of equals
    return [*first.choices[best].tolist(), *last.choices[other[best]].tolist()]


def least_cost(fronts: Sequence[Front], bound: float) -> list[int]:
    """Returns for every layer the option it takes, for the least cost at an error within ``bound``.

    It is as exact as `least_error`. The bound is one of the root of the sum of squared errors.

    Raises:
      ValueError: if no choice has so small an error.
    """
    lowest = math.sqrt(sum(float(front.squares[-1]) for front in fronts))
    if lowest > bound:
        raise ValueError(
            f"No choice has an error within {bound:g}; the least is {lowest:.4g}: raise the bound, "
            "or fix fewer structures by hand."
        )
    used = [(front.costs, front.squares) for front in fronts]
    first, last = _two_halves(_narrowed(fronts, used, bound**2), None)
    other = np.searchsorted(-last.squares, first.squares - bound**2, side="left")
    within = other < len(last.costs)
    other = np.minimum(other, len(last.costs) - 1)
    costs = np.where(within, first.costs + last.costs[other], np.iinfo(np.int64).max)
    best = int(np.argmin(costs))
    return [*first.choices[best].tolist(), *last.choices[other[best]].tolist()]


def _narrowed(
    fronts: Sequence[Front],
    used: Sequence[tuple[Any, Any]],
    limit: float,
) -> list[Front]:
    """Leaves out options that are in no optimum, by what it costs to use more of what is limited.

    At a price for what is limited, every layer's best option is known, and the sum over the layers
    bounds the optimum from below (Lagrange duality). An option that raises this sum above the total
    of some choice within the limit is in no optimum. With many layers few options are left.

    Args:
      fronts: the layers' options.
      used: for every layer what its options add to the total, and to what is limited.
      limit: how much may be used in all.
    """

    def best(price: float) -> list[int]:
        return [int(np.argmin(total + price * part)) for total, part in used]

    def sums(chosen: Sequence[int]) -> tuple[float, float]:
        pairs = [(total[i], part[i]) for (total, part), i in zip(used, chosen, strict=True)]
        return float(sum(a for a, _ in pairs)), float(sum(b for _, b in pairs))

    low, high = 0.0, 1e-12
    while sums(best(high))[1] > limit:
        low, high = high, 4 * high
        if high > 1e30:  # it cannot be met but by rounding
            return list(fronts)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if sums(best(middle))[1] <= limit else (middle, high)
    reached, spent = sums(best(high))
    bound = reached + high * (spent - limit)
    gap = (reached - bound) * (1 + 1e-9) + 1e-12 * max(abs(reached), abs(bound))
    result = []
    for front, (total, part) in zip(fronts, used, strict=True):
        priced = total + high * part
        keep = priced - priced.min() <= gap
        result.append(Front(front.costs[keep], front.squares[keep], front.choices[keep]))
    return result


def _two_halves(fronts: Sequence[Front], limit: int | None) -> tuple[Front, Front]:
    """Combines all layers but the last, which the caller combines exactly."""
    nothing = Front(np.zeros(1, np.int64), np.zeros(1), np.zeros((1, 0), np.int64))
    *heads, last = fronts or [nothing]
    first, rest = nothing, sum(int(front.costs[0]) for front in fronts)
    for front in heads:
        rest -= int(front.costs[0])
        first = _combined(first, front, None if limit is None else limit - rest)
    return first, last


def _combined(a: Front, b: Front, limit: int | None) -> Front:
    max_count = max(2, _MAX_PAIRS // len(b.costs))
    a = _thinned(a, max_count)
    i, j = np.divmod(np.arange(len(a.costs) * len(b.costs)), len(b.costs))
    costs = a.costs[i] + b.costs[j]
    if limit is not None:
        within = costs <= limit
        i, j, costs = i[within], j[within], costs[within]
    squares = a.squares[i] + b.squares[j]
    keep = _pareto(costs, squares)
    choices = np.hstack([a.choices[i[keep]], b.choices[j[keep]]])
    return Front(costs[keep], squares[keep], choices)


def _pareto(
    costs: Int[np.ndarray, " n"], squares: Float[np.ndarray, " n"]
) -> Int[np.ndarray, " kept"]:
    """Returns the indices of the options worth taking, by rising cost."""
    order = np.lexsort((squares, costs))
    best = np.minimum.accumulate(squares[order])
    return order[np.append(True, best[1:] < best[:-1])]


def _thinned(front: Front, max_count: int) -> Front:
    if len(front.costs) <= max_count:
        return front
    keep = np.linspace(0, len(front.costs) - 1, max_count).round().astype(int)
    return Front(front.costs[keep], front.squares[keep], front.choices[keep])
