"""A network learns the same with native kernels as without: three seeds, within their spread."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kfc_jax import KFCDense, scale_factor_updates
from kfc_jax.product import native_unavailable

pytestmark = pytest.mark.skipif(bool(native_unavailable()), reason=native_unavailable())


def digits(seed, count):
    """Noisy pictures of ten random patterns, and which they are."""
    patterns = np.random.default_rng(0).standard_normal((10, 144))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    noise = 3.0 * rng.standard_normal((count, 144))
    return jnp.asarray(patterns[labels] + noise, jnp.float32), jnp.asarray(labels)


def error_after_training(strategy, seed):
    model = nn.Sequential([KFCDense(150, rank=2, strategy=strategy), nn.relu, nn.Dense(10)])
    x, labels = digits(100 + seed, 512)
    params = model.init(jax.random.key(seed), x)
    optimizer = optax.chain(
        optax.scale_by_adam(), scale_factor_updates(), optax.scale_by_learning_rate(3e-3)
    )

    def loss(params):
        logits = model.apply(params, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(60):
        params, state = step(params, state)
    x, labels = digits(200 + seed, 2000)
    return float(jnp.mean(model.apply(params, x).argmax(-1) != labels))


def test_native_training_reaches_the_errors_of_training_without():
    errors = {
        strategy: [error_after_training(strategy, seed) for seed in range(3)]
        for strategy in ("native", "per_sample")
    }
    means = {strategy: np.mean(values) for strategy, values in errors.items()}
    spread = max(np.std(values, ddof=1) for values in errors.values())
    assert all(0.005 < mean < 0.5 for mean in means.values()), errors  # learnt, not all
    assert abs(means["native"] - means["per_sample"]) <= spread, errors
