"""Initialisers for factors: their product has the variance of a dense initialiser.

A kernel entry is a sum, over T terms and the ranks r of each, of products of N independent factor
entries with mean zero. It has variance ``v`` if every term contributes ``v / T``, that is if the
factors' variances multiply to ``v / (T r)``. Within a term the factors get equal Frobenius norms
in expectation, the balanced scaling that a decomposition gives too:
``std_k = (v / (T r) * n m)^(1/(2N)) / sqrt(n_k m_k)``, with ``n m`` the size of the padded kernel.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax.core import meta
from flax.linen.linear import default_kernel_init
from jax.nn.initializers import Initializer

from kfc_jax.structures import KroneckerStructure

_TRUNCATED_STD = 0.87962566103423978  # of a standard normal cut off at two deviations


def factor_initializer(
    kernel_init: Initializer,
    structure: KroneckerStructure,
    term: int,
    factor: int,
    *,
    kernel_axes: tuple[int | None, ...] | None = None,
) -> Callable[..., Any]:
    """Returns the initialiser of one factor, from the initialiser of the dense kernel.

    The scale is read off ``kernel_init`` itself: but for the default (variance 1 / inputs), the
    dense kernel is drawn at initialisation, once for each factor, and its mean square measured, so
    any initialiser works; its distribution is not kept, the factors are truncated normals. If the
    dense kernel is all zeros, the first factor is zero and the others as by default, so that the
    product is zero but can learn. ``nn.with_partitioning`` names ``(rows, columns)`` of the kernel
    carry over to the first factor of each term, whose indices are the slow ones; the others are
    replicated.

    Args:
      kernel_init: initialiser of a dense kernel ``(inputs, features)``.
      structure: structure of the kernel.
      term: index of the term.
      factor: index of the factor in the term.
      kernel_axes: for every axis of the factor, the kernel axis (0: rows, 1: columns) whose
        partitioning name it takes over, or None. Default: as said above.

    Returns:
      A function of ``(key, shape, dtype)`` that returns the factor.
    """
    if kernel_axes is None:
        kernel_axes = (None, 0, 1) if factor == 0 else (None, None, None)
    default_variance = 1 / structure.inputs
    std = functools.partial(structure.factor_scale, term, factor)

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
        key, scale_key = jax.random.split(key)
        values = jax.random.truncated_normal(key, -2, 2, shape, jnp.promote_types(dtype, "float32"))
        values /= _TRUNCATED_STD
        if kernel_init is default_kernel_init:
            return (values * std(default_variance)).astype(dtype)
        dense = kernel_init(scale_key, (structure.inputs, structure.features), dtype)
        mean_square = jnp.mean(jnp.square(meta.unbox(dense).astype(values.dtype)))
        if_zero = 0.0 if factor == 0 else std(default_variance)
        scale = jnp.where(mean_square > 0, std(mean_square), if_zero)
        return _box_like(dense, (values * scale).astype(dtype), kernel_axes)

    return init


def block_initializer(kernel_init: Initializer) -> Callable[..., Any]:
    """Returns the initialiser of a stack of blocks, each of which is a dense kernel of its own.

    ``nn.with_partitioning`` names of a kernel's axes carry over to those of the blocks; the axis
    that counts the blocks is replicated.
    """

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
        def one(key: jax.Array) -> Any:
            return kernel_init(key, shape[1:], dtype)

        values = jax.vmap(lambda key: meta.unbox(one(key)))(jax.random.split(key, shape[0]))
        return _box_like(jax.eval_shape(one, key), values, (None, 0, 1))

    return init


def _box_like(dense: Any, value: jax.Array, kernel_axes: tuple[int | None, ...]) -> Any:
    """Wraps a factor in the metadata of the dense kernel, its axis names adapted."""
    if not isinstance(dense, meta.AxisMetadata):
        return value
    names = getattr(dense, "names", None)
    if names is None or len(names) != 2:
        raise TypeError(
            f"kernel_init returned metadata of type {type(dense).__name__} without two axis names; "
            "use nn.with_partitioning or nn.with_logical_partitioning with the two names of a "
            "dense kernel's axes."
        )
    return dense.replace(
        value=value, names=tuple(None if axis is None else names[axis] for axis in kernel_axes)
    )
