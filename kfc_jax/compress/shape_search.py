"""Which shapes of a kernel to try, where trying all of them would take too long.

The shapes of two factors are points of a grid: the rows and the columns of the first factor. Their
errors at one cost change little from point to point, or are small around a point of which the
kernel is made. So a few points spread over the grid are tried, then the neighbours of the best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

Scores = Float[np.ndarray, " levels"]

_COST_OF_LEAVING_OUT = 0.002  # what the shapes that are left may cost more, relative


def undominated(
    firsts: Int[np.ndarray, "shapes 2"],
    seconds: Int[np.ndarray, "shapes 2"],
    units: Int[np.ndarray, " shapes"],
    max_ranks: Int[np.ndarray, " shapes"],
) -> list[int]:
    """Returns the shapes of which no other one can do all they can at nearly no more cost.

    A factor of ``a*b`` times the entries is a sum of ``a*b`` products of a matrix ``(a, b)`` and a
    factor of these fewer entries. So a shape whose larger factor is split further has, at
    ``a*b`` times the rank, all the kernels of the other shape, and it costs less by nearly as much.

    Args:
      firsts: the shapes of the first factors.
      seconds: the shapes of the second factors.
      units: what one product costs.
      max_ranks: the highest ranks.
    """
    kept: list[int] = []
    for i in np.argsort(-np.minimum(firsts.prod(1), seconds.prod(1)), kind="stable"):
        others = np.array(kept, int)
        for sides in (firsts, seconds):
            ratios = sides[others] // sides[i]
            splits = (ratios * sides[i] == sides[others]).all(1)
            times = ratios.prod(1)
            cheap = times * units[others] <= (1 + _COST_OF_LEAVING_OUT) * units[i]
            if (splits & cheap & (times * max_ranks[i] <= max_ranks[others])).any():
                break
        else:
            kept.append(int(i))
    return sorted(kept)


def search(
    firsts: Int[np.ndarray, "shapes 2"],
    scores_of: Callable[[int], Scores],
    max_tries: int,
    is_over: Callable[[], bool],
) -> None:
    """Tries shapes: some spread over the grid, then neighbours of the best at every cost in turn.

    Args:
      firsts: the shapes of the first factors.
      scores_of: tries a shape, and returns its errors at some costs.
      max_tries: the largest number of shapes to try.
      is_over: whether the time is over; a quarter of the tries is done even then.
    """
    found: dict[int, Scores] = {}
    count = min(max_tries, len(firsts))
    level = 0
    spread = _spread(firsts, count if count == len(firsts) else (count + 1) // 2)
    needed = max_tries // 4 + 1
    # Shapes of the same rows share most of the work where there are weights.
    for index in (*_by_rows(firsts, spread[:needed]), *_by_rows(firsts, spread[needed:])):
        if len(found) > max_tries // 4 and is_over():
            return
        found[index] = scores_of(index)
    near = _neighbours(firsts)
    while len(found) < count and not is_over():
        tried = np.array(sorted(found))
        errors = np.array([found[index][level % len(found[index])] for index in tried])
        fresh = np.setdiff1d(np.arange(len(firsts)), tried)
        # The neighbours of the best shape that has some, those next to other good ones first.
        hopes = np.where(near[np.ix_(fresh, tried)], errors, math.inf)
        level += 1
        index = int(fresh[np.lexsort((np.sort(hopes)[:, :2].sum(1), hopes.min(1)))[0]])
        found[index] = scores_of(index)


def _spread(firsts: Int[np.ndarray, "shapes 2"], count: int) -> Sequence[int]:
    """Returns points far from each other on the grid of logarithms, the first shape among them."""
    places = np.log(firsts)
    chosen = [0]
    distances = np.full(len(places), math.inf)
    while len(chosen) < count:
        distances = np.minimum(distances, np.abs(places - places[chosen[-1]]).sum(1))
        distances[chosen] = -1
        chosen.append(int(np.argmax(distances)))
    return chosen


def _by_rows(firsts: Int[np.ndarray, "shapes 2"], indices: Sequence[int]) -> list[int]:
    return sorted(indices, key=lambda index: tuple(firsts[index]))


def _neighbours(firsts: Int[np.ndarray, "shapes 2"]) -> Bool[np.ndarray, "shapes shapes"]:
    """Returns which shapes have sides that are equal, or one a prime number times the other."""
    high = np.maximum(firsts[:, None], firsts[None])
    low = np.minimum(firsts[:, None], firsts[None])
    step = np.where(high % low == 0, high // low, 0)
    allowed = [1, *(n for n in range(2, int(step.max()) + 1) if _is_prime(n))]
    fits = np.isin(step, allowed)
    return fits[..., 0] & fits[..., 1]


def _is_prime(number: int) -> bool:
    return all(number % divisor for divisor in range(2, math.isqrt(number) + 1))
