"""Lists of overrides of a base config, and how to combine them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

Overrides = dict[str, Any]
"""The fields in which a trial differs from the base config: `{"optimizer.b1": 0.8, "seed": 1}`."""


def values(field: str, *choices: Any) -> list[Overrides]:
    """Returns one override of `field` for each of `choices`."""
    return [{field: choice} for choice in choices]


def seeds(count: int) -> list[Overrides]:
    """Returns overrides of the config's seed, 0 to `count - 1`."""
    return values("seed", *range(count))


def log_uniform(
    space: Mapping[str, tuple[float, float]], count: int, seed: int = 0
) -> list[Overrides]:
    """Returns `count` settings, every field drawn log-uniformly between its two bounds.

    The same call gives the same numbers, of two significant digits.

    Raises:
      ValueError: if a bound is not positive, or the lower one is above the upper one.
    """
    for field, (low, high) in space.items():
        if not 0 < low <= high:
            raise ValueError(f"{field} goes from {low} to {high}; give 0 < low <= high.")
    rng = np.random.default_rng(seed)
    return [
        {
            field: float(f"{math.exp(rng.uniform(math.log(low), math.log(high))):.2g}")
            for field, (low, high) in space.items()
        }
        for _ in range(count)
    ]


def product(*axes: Iterable[Overrides]) -> list[Overrides]:
    """Returns every combination of one override from each axis; the last axis changes fastest.

      >>> product(seeds(2), values("optimizer.b1", 0.8, 0.9))[1]
      {'seed': 0, 'optimizer.b1': 0.9}

    Raises:
      ValueError: if two axes set the same field.
    """
    return [_merge(parts) for parts in itertools.product(*axes)]


def _merge(parts: Iterable[Overrides]) -> Overrides:
    merged: Overrides = {}
    for part in parts:
        if twice := merged.keys() & part.keys():
            raise ValueError(f"{', '.join(sorted(twice))} is set twice; set a field in one axis.")
        merged |= part
    return merged
