"""One plan in a process of its own: prints its seconds and what it chose, as a line of JSON.

The library is that of the folder in the environment variable `KFC_JAX_EARLIER`, if it is set. A
process of its own also keeps caches of one plan from the next one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import numpy as np

from experiments.benchmarking.peer_process import TREE

_BUDGET = 0.3
_SAMPLES = 1024

_PROJECTIONS = ((768, 768),) * 4
_MLP = ((768, 3072), (3072, 768))
_MIXING = ((49, 64), (64, 49), (64, 128), (128, 64))
CASES = {
    "small": ((48, 60), (60, 10)),
    "mixer": ((16, 64), *_MIXING * 4, (64, 10)),
    "mlp": _MLP,
    "block": (*_PROJECTIONS, *_MLP),
    "transformer": (*_PROJECTIONS, *_MLP) * 12,
}
"""The sizes of the kernels of every case."""


def main(case: str, weighting: str) -> None:
    """Plans a case, ``weighted`` by statistics or ``plain``, and prints what it took."""
    if tree := os.environ.get(TREE):
        sys.path.insert(0, tree)
    from kfc_jax import InputStatistics, plan_compression

    params: dict[str, Any] = {}
    statistics: dict[str, Any] = {}
    for index, (inputs, features) in enumerate(CASES[case]):
        rng = np.random.default_rng(index)
        path = f"layer_{index}"
        kernel = _decaying(rng, inputs, features)
        params[path] = {"kernel": kernel, "bias": np.zeros(features, np.float32)}
        if weighting == "weighted":
            seen = rng.standard_normal((_SAMPLES, inputs), np.float32) @ _decaying(
                rng, inputs, inputs
            )
            statistics[path] = InputStatistics.of(seen)
    started, worked = time.perf_counter(), time.process_time()
    plan = plan_compression(params, _BUDGET, statistics=statistics or None, progress=_silent)
    found = {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - worked,
        "error": plan.error,
        "parameters": plan.parameters,
        "structures": plan.structures,
    }
    print(json.dumps(found))


def _decaying(rng: np.random.Generator, rows: int, columns: int) -> Any:
    """Returns a matrix whose singular values fall about as the root of their number."""
    count = min(rows, columns)
    left = rng.standard_normal((rows, count), np.float32) * (1 + np.arange(count)) ** -0.5
    kernel = left @ rng.standard_normal((count, columns), np.float32)
    return (kernel / np.linalg.norm(kernel)).astype(np.float32)


def _silent(line: str) -> None:
    """Does not print progress."""


if __name__ == "__main__":
    main(*sys.argv[1:])
