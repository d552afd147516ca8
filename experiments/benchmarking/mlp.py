"""A whole training step of a network that is fully connected layers alone."""

from __future__ import annotations

import functools
import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from kfc_jax import KFCDense, scale_factor_updates

INPUTS, HIDDEN, CLASSES = 784, 4096, 10
RANK, BATCH = 4, 256


class MLP(nn.Module):
    """Two hidden layers, dense or sums of Kronecker products, and a dense classifier.

    Attributes:
      kind: `dense` or `kfc`.
    """

    kind: str

    @nn.compact
    def __call__(self, x: Float[Array, "batch inputs"]) -> Float[Array, "batch classes"]:
        """Returns the logits."""
        layer = nn.Dense if self.kind == "dense" else functools.partial(KFCDense, rank=RANK)
        for _ in range(2):
            x = nn.relu(layer(HIDDEN)(x))
        return nn.Dense(CLASSES)(x)


class MLPStep:
    """The network in training, always on the same batch; a call does a step.

    Args:
      kind: `dense` or `kfc`.

    Attributes:
      compile_seconds: how long tracing and compiling took.
      temporary_bytes: memory of the compiled step besides state and batch; None if not known.
    """

    def __init__(self, kind: str):
        model = MLP(kind)
        rng = np.random.default_rng(0)
        images = jnp.asarray(rng.standard_normal((BATCH, INPUTS), np.float32))
        labels = jnp.asarray(rng.integers(0, CLASSES, BATCH))
        parameters = model.init(jax.random.key(0), images)
        optimizer = optax.chain(
            optax.scale_by_adam(), scale_factor_updates(), optax.scale_by_learning_rate(1e-3)
        )

        def loss(parameters: Any, images: Array, labels: Int[Array, " batch"]) -> Array:
            logits = model.apply(parameters, images)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        def step(state: Any, images: Array, labels: Array) -> Any:
            parameters, moments = state
            gradients = jax.grad(loss)(parameters, images, labels)
            updates, moments = optimizer.update(gradients, moments, parameters)
            return optax.apply_updates(parameters, updates), moments

        self._state = parameters, optimizer.init(parameters)
        self._batch = images, labels
        start = time.perf_counter()
        jitted = jax.jit(step, donate_argnums=0)
        self._step = jitted.lower(self._state, *self._batch).compile()
        self.compile_seconds = time.perf_counter() - start
        memory = self._step.memory_analysis()
        self.temporary_bytes = None if memory is None else memory.temp_size_in_bytes

    def __call__(self) -> None:
        """Does a step, and returns once it is done."""
        self._state = jax.block_until_ready(self._step(self._state, *self._batch))
