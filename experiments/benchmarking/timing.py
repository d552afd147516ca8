"""Times of several functions, measured in turns, so that a drifting machine is fair to all."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Mapping

_SHORTEST_SAMPLE = 1e-3  # seconds; a sample repeats a faster function until it takes as long
_WARMING = 5e-3  # seconds, at least, that a function is called before each sample of it
_SAMPLES = (5, 60)
_SLOW = 0.5  # seconds; a function this slow gets
_SLOW_SAMPLES = 3


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of one call of a function.

    Attributes:
      median: the median of the samples.
      low, high: their lower and upper quartile.
      samples: how many there are.
    """

    median: float
    low: float
    high: float
    samples: int


def in_turns(
    calls: Mapping[str, Callable[[], object]],
    seconds: float,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Times functions in turns, after warming each up.

    All get the same share of the time, so that far slower ones get fewer samples; these are spread
    evenly over the whole time. Before each sample a function is called for a while that does not
    count: what another one leaves behind (freed memory, cold caches, a processor that has moved the
    threads of a sleeping program to the same core) is not its own.

    Args:
      calls: functions that return when their work is done.
      seconds: how long to measure, about; more if a few samples of each take longer.
      clock: gives the time in seconds.
    """
    share = seconds / max(1, len(calls))
    repeats, warming, samples = {}, {}, {}
    for name, call in calls.items():
        call()
        once = _sample(call, 1, clock)
        if once < _SLOW:
            once = min(once, _sample(call, 1, clock))
        once = max(once, 1e-9)
        repeats[name] = max(1, math.ceil(_SHORTEST_SAMPLE / once))
        warming[name] = max(1, math.ceil(_WARMING / once)) if len(calls) > 1 else 0
        fitting = round(share / ((repeats[name] + warming[name]) * once))
        samples[name] = (
            _SLOW_SAMPLES if once > _SLOW else min(max(fitting, _SAMPLES[0]), _SAMPLES[1])
        )
    times: dict[str, list[float]] = {name: [] for name in calls}
    rounds = max(samples.values(), default=0)
    for turn in range(rounds):
        for name, call in calls.items():
            if (turn + 1) * samples[name] // rounds > turn * samples[name] // rounds:
                _sample(call, warming[name], clock)
                times[name].append(_sample(call, repeats[name], clock))
    return {name: _summary(values) for name, values in times.items()}


def _sample(call: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(repeats):
        call()
    return (clock() - start) / max(1, repeats)


def _summary(values: list[float]) -> Timing:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Timing(median, low, high, len(values))
