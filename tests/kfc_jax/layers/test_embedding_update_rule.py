"""The rule for a table's factors: rows that are looked up move as those of a dense table do."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kfc_jax
from tests.kfc_jax.reference import key

TOKENS = 64
SIZE = (960, 128)
STRUCTURES = ["8:30x8*32x16", "2:30x16*32x8", "32:30x8*32x16", "4:10x4*8x4*12x8"]


def moved(layer, method, rule):
    """Root-mean-square change of the output after one and ten steps of Adam."""
    rng = np.random.default_rng(0)
    is_lookup = method == "__call__"
    if is_lookup:
        x = rng.integers(0, SIZE[0], TOKENS)
    else:
        x = rng.standard_normal((TOKENS, SIZE[1]), np.float32)
    of_outputs = rng.standard_normal((TOKENS, SIZE[is_lookup]), np.float32)
    params = jax.jit(layer.init)(key(0), jnp.zeros(1, int))["params"]
    optimizer = optax.chain(optax.scale_by_adam(), rule, optax.scale(-1e-3 / np.sqrt(SIZE[1])))

    @jax.jit
    def ten_steps(params, state):
        def outputs(p):
            return layer.apply({"params": p}, x, method=method)

        def step(carry, _):
            p, state = carry
            gradients = jax.grad(lambda p: jnp.mean(jnp.sum(outputs(p) * of_outputs, -1)))(p)
            updates, state = optimizer.update(gradients, state, p)
            p = optax.apply_updates(p, updates)
            return (p, state), jnp.sqrt(jnp.mean((outputs(p) - outputs(params)) ** 2))

        return jax.lax.scan(step, (params, state), None, length=10)[1]

    return np.asarray(ten_steps(params, optimizer.init(params)))[[0, 9]]


def relative(text, method, rule):
    layer = kfc_jax.KFCEmbed(*SIZE, structure=text)
    return moved(layer, method, rule) / moved(nn.Embed(*SIZE), method, optax.identity())


if __name__ == "__main__":
    for text in STRUCTURES:
        for method in ("__call__", "attend"):
            print(text, method, relative(text, method, kfc_jax.scale_factor_updates(1.0)), "without", relative(text, method, optax.identity()))
