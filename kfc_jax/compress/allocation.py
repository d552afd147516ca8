"""Sharing a budget between layers: one option for each, of the smallest total error or cost.

An option has a cost, an integer, and a squared error; both add up over the layers. A *front* is
the options of one layer of which no other has both less: sorted by rising cost, the error falls.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

Excess = Float[np.ndarray, "_"]

_MAX_PAIRS = 2**23  # options that are combined for an allocation, two layers at once
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
    excesses, gap, known = _excesses(used, limit)
    first, last = _two_halves(fronts, excesses, gap, limit)
    other = np.searchsorted(last.costs, limit - first.costs, side="right") - 1
    squares = np.where(other >= 0, first.squares + last.squares[other], math.inf)
    best = int(np.argmin(squares))  # the cheapest of equals
    if known and squares[best] > sum(
        front.squares[i] for front, i in zip(fronts, known, strict=True)
    ):
        return _indices(fronts, known)  # all better ones were thinned out
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
    excesses, gap, known = _excesses(used, bound**2)
    first, last = _two_halves(fronts, excesses, gap, None)
    other = np.searchsorted(-last.squares, first.squares - bound**2, side="left")
    within = other < len(last.costs)
    other = np.minimum(other, len(last.costs) - 1)
    costs = np.where(within, first.costs + last.costs[other], np.iinfo(np.int64).max)
    best = int(np.argmin(costs))
    if known and costs[best] > sum(
        int(front.costs[i]) for front, i in zip(fronts, known, strict=True)
    ):
        return _indices(fronts, known)
    return [*first.choices[best].tolist(), *last.choices[other[best]].tolist()]


def _excesses(
    used: Sequence[tuple[np.ndarray, np.ndarray]], limit: float
) -> tuple[list[Excess], float, list[int]]:
    """Returns what options add to a lower bound of the total, what an optimum may, and a choice.

    At a price for what is limited, every layer's best option is known, and the sum over the layers
    bounds the optimum from below (Lagrange duality). A choice whose options raise this sum above
    the total of some choice within the limit is no optimum. With many layers few are left.

    Args:
      used: for every layer what its options add to the total, and to what is limited.
      limit: how much may be used in all.
    """

    def best(price: float) -> list[int]:
        return [int(np.argmin(total + price * part)) for total, part in used]

    def sums(chosen: Sequence[int]) -> tuple[float, float]:
        pairs = [(total[i], part[i]) for (total, part), i in zip(used, chosen, strict=True)]
        return float(sum(a for a, _ in pairs)), float(sum(b for _, b in pairs))

    low, price = 0.0, 1e-12
    while sums(best(price))[1] > limit:
        low, price = price, 4 * price
        if price > 1e30:  # it cannot be met but by rounding
            return [np.zeros(len(total)) for total, _ in used], 0.0, []
    for _ in range(_HALVINGS):
        middle = (low + price) / 2
        low, price = (low, middle) if sums(best(middle))[1] <= limit else (middle, price)
    chosen = best(price)
    reached, spent = sums(chosen)
    bound = reached + price * (spent - limit)
    chosen = _filled(used, chosen, limit - spent)
    reached, _ = sums(chosen)
    priced = [total + price * part for total, part in used]
    gap = (reached - bound) * (1 + 1e-9) + 1e-12 * max(abs(reached), abs(bound))
    return [of_layer - of_layer.min() for of_layer in priced], gap, chosen


def _filled(
    used: Sequence[tuple[np.ndarray, np.ndarray]], chosen: Sequence[int], slack: float
) -> list[int]:
    """Returns the choice after the best single changes for what is left of the limit."""
    chosen = list(chosen)
    for _ in used:
        gains = []
        for (total, part), i in zip(used, chosen, strict=True):
            new = int(np.argmin(np.where(part <= part[i] + slack, total, math.inf)))
            gains.append((float(total[i] - total[new]), new))
        layer = max(range(len(gains)), key=gains.__getitem__)
        gain, new = gains[layer]
        if gain <= 0:
            break
        part = used[layer][1]
        slack -= float(part[new] - part[chosen[layer]])
        chosen[layer] = new
    return chosen


def _indices(fronts: Sequence[Front], options: Sequence[int]) -> list[int]:
    return [int(front.choices[i, 0]) for front, i in zip(fronts, options, strict=True)]


def _two_halves(
    fronts: Sequence[Front], excesses: Sequence[Excess], gap: float, limit: int | None
) -> tuple[Front, Front]:
    """Combines all layers but the last, which the caller combines exactly."""
    nothing = Front(np.zeros(1, np.int64), np.zeros(1), np.zeros((1, 0), np.int64))
    pairs = list(zip(fronts, excesses, strict=True))
    *heads, (last, _) = pairs or [(nothing, np.zeros(1))]
    first, excess = nothing, np.zeros(1)
    rest = sum(int(front.costs[0]) for front in fronts)
    for front, of_layer in heads:
        rest -= int(front.costs[0])
        keep = of_layer <= gap
        front = Front(front.costs[keep], front.squares[keep], front.choices[keep])
        max_count = max(2, _MAX_PAIRS // len(heads) // len(front.costs))
        thin = _thinned(len(first.costs), max_count)
        first = Front(first.costs[thin], first.squares[thin], first.choices[thin])
        bounds = gap, None if limit is None else limit - rest
        first, excess = _combined(first, excess[thin], front, of_layer[keep], *bounds)
    return first, last


def _combined(
    a: Front, a_excess: Excess, b: Front, b_excess: Excess, gap: float, limit: int | None
) -> tuple[Front, Excess]:
    """Returns the options of both that an optimum may take, and what they add to the bound."""
    i, j = np.nonzero(a_excess[:, None] + b_excess <= gap)
    costs = a.costs[i] + b.costs[j]
    if limit is not None:
        within = costs <= limit
        i, j, costs = i[within], j[within], costs[within]
    squares = a.squares[i] + b.squares[j]
    keep = _pareto(costs, squares)
    i, j = i[keep], j[keep]
    choices = np.hstack([a.choices[i], b.choices[j]])
    return Front(costs[keep], squares[keep], choices), a_excess[i] + b_excess[j]


def _pareto(
    costs: Int[np.ndarray, " n"], squares: Float[np.ndarray, " n"]
) -> Int[np.ndarray, " kept"]:
    """Returns the indices of the options worth taking, by rising cost."""
    order = np.lexsort((squares, costs))
    best = np.minimum.accumulate(squares[order])
    return order[np.append(True, best[1:] < best[:-1])]


def _thinned(count: int, max_count: int) -> Int[np.ndarray, " kept"]:
    """Returns the indices of so many options at most, spread evenly."""
    if count <= max_count:
        return np.arange(count)
    return np.linspace(0, count - 1, max_count).round().astype(int)
