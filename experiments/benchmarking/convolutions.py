"""The convolutions of a network alone: what a fast `fc1` cannot make faster."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.benchmarking.compiled import CompiledCall, compile_call


def convolutions(model: nn.Module, images: Any) -> list[CompiledCall]:
    """Returns functions that each do one convolution of a model, and its gradients.

    Args:
      model: the network, whose convolutions are `nn.Conv`.
      images: what it is called with; only shape and type matter.
    """
    found: list[tuple[nn.Conv, tuple[int, ...]]] = []

    def note(call: Any, arguments: Any, keywords: Any, context: Any) -> Any:
        if isinstance(context.module, nn.Conv) and context.method_name == "__call__":
            found.append((context.module.clone(parent=None), arguments[0].shape))
        return call(*arguments, **keywords)

    def trace(images: Any) -> Any:
        with nn.intercept_methods(note):
            return model.init(jax.random.key(0), images)

    jax.eval_shape(trace, images)
    return [_forward_and_backward(*conv) for conv in found]


def _forward_and_backward(conv: nn.Conv, shape: tuple[int, ...]) -> CompiledCall:
    x = jnp.ones(shape)
    variables = conv.init(jax.random.key(0), x)

    def loss(variables: Any, x: Any) -> Any:
        return jnp.sum(conv.apply(variables, x) ** 2)

    # The first convolution needs no gradient of the images.
    wanted = 0 if shape[-1] <= 3 else (0, 1)
    return compile_call(jax.grad(loss, wanted), (variables, x))
