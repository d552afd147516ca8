"""`auto` has all that Kronecker sums alone and low rank alone have, so it is never worse."""

import numpy as np
import pytest

from kfc_jax import plan_compression

SIZES = {"first": (32, 32), "second": (32, 48), "third": (48, 32)}


def orthogonal(rng, size):
    return np.linalg.qr(rng.standard_normal((size, size)))[0]


def layers_and_inputs(seed):
    """Kernels of falling singular values and some noise, which see correlated inputs."""
    rng = np.random.default_rng(seed)
    params, seen = {}, {}
    for name, (rows, columns) in SIZES.items():
        left, right = orthogonal(rng, rows), orthogonal(rng, columns)
        values = np.exp(-np.arange(min(rows, columns)) / rng.uniform(6, 14))
        kernel = (left[:, : len(values)] * values) @ right[: len(values)]
        kernel += 0.15 * rng.standard_normal((rows, columns)) / np.sqrt(columns)
        inputs = rng.standard_normal((256, rows)) * np.exp(-np.arange(rows) / 10)
        params[name] = {"kernel": np.float32(kernel)}
        seen[name] = np.float32(inputs @ orthogonal(rng, rows))
    return params, seen


@pytest.mark.parametrize(("seed", "budget"), [(4, 0.5), (1, 0.3), (2, 0.3), (5, 0.5)])
def test_auto_is_no_worse_than_one_kind_alone(seed, budget):
    params, seen = layers_and_inputs(seed)
    auto, kfc, low_rank = (
        plan_compression(params, budget, method=method, statistics=seen).error
        for method in ("auto", "kfc", "low_rank")
    )
    assert auto <= (1 + 1e-9) * min(kfc, low_rank)
