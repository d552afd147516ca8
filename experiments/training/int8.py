"""A trained model with weights in 8 bits: what it takes on disk, and what the rounding does to it.

The plainest way there is, the same for every method: after training, each array of two axes or more
(kernels of convolutions and layers, factors) is rounded to 255 steps, with one float32 scale for
each index of its last axis. Biases, norms and their running statistics stay float32.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_LARGEST = 127


@jax.jit
def rounded_to_int8(params: Any) -> Any:
    """Returns parameters whose weights are those of 8 bits, as float32, to run the model with."""
    return jax.tree.map(lambda array: _rounded(array) if _is_weight(array) else array, params)


def stored_bytes(variables: Any) -> dict[str, int]:
    """Returns how many bytes the arrays of a model take, as `float32` and as `int8`."""
    arrays = jax.tree.leaves(variables)
    rounded = sum(a.size + 4 * a.shape[-1] if _is_weight(a) else 4 * a.size for a in arrays)
    return {"float32": sum(4 * a.size for a in arrays), "int8": rounded}


def _is_weight(array: Array) -> bool:
    return array.ndim >= 2


def _rounded(array: Float[Array, "*axes last"]) -> Float[Array, "*axes last"]:
    axes = tuple(range(array.ndim - 1))
    scale = jnp.max(jnp.abs(array), axes) / _LARGEST
    return jnp.round(array / jnp.where(scale > 0, scale, 1)) * scale
