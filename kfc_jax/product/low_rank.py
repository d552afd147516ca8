"""The product with two thin matrices, ``x @ u @ v``: the baseline, as fast as we can make it."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Inexact, Num

from kfc_jax.product.derivatives import Product, differentiable
from kfc_jax.product.dot_general import DotGeneral, is_replaced, own_dot_general
from kfc_jax.product.native import (
    gains_forward,
    gradients_low_rank,
    multiply_low_rank,
    suits_low_rank,
)
from kfc_jax.product.sharding import gather, is_sharded_by_type, vary_alike
from kfc_jax.product.shares import Share, axes_of, find_share, flatten_samples, shared_out


def low_rank_matmul(
    x: Num[Array | np.ndarray, "*batch inputs"],
    u: Num[Array | np.ndarray, "inputs rank"],
    v: Num[Array | np.ndarray, "rank features"],
    *,
    precision: lax.PrecisionLike = None,
    dot_general: DotGeneral | None = None,
) -> Inexact[Array, "*batch features"]:
    """Returns ``x @ u @ v``, on a CPU by a native kernel where that is faster.

    Works under all of JAX's transformations, as ``jax.numpy.matmul`` does, and in any type.

    Args:
      x: the inputs ``(..., inputs)``.
      u: the first matrix.
      v: the second matrix.
      precision: the precision, as in ``jax.lax.dot_general``.
      dot_general: a replacement for ``jax.lax.dot_general``, by which both products are done.

    Raises:
      ValueError: if the sizes do not fit.
    """
    x, u, v = map(jnp.asarray, (x, u, v))
    if x.ndim == 0 or u.ndim != 2 or v.ndim != 2 or x.shape[-1:] + v.shape[:1] != u.shape:
        raise ValueError(
            f"x of shape {x.shape} cannot be multiplied by matrices of shapes {u.shape} and "
            f"{v.shape}: they must be (..., inputs), (inputs, rank) and (rank, features)."
        )
    is_numbered = all(isinstance(size, int) for size in x.shape[:-1])
    if dot_general is not None or is_replaced() or not is_numbered:
        return _one_by_one(dot_general or lax.dot_general, precision, x, u, v)
    flat = flatten_samples(x)
    share = find_share(flat, [axes_of(u, 0)], [axes_of(v, 1)])
    if share is not None:
        return _shared_out(precision, share, flat, u, v).reshape(*x.shape[:-1], v.shape[1])
    u, v = gather(u), gather(v)
    if is_sharded_by_type(x):
        return _one_by_one(lax.dot_general, precision, x, u, v)
    return _planned(precision, flat, (u, v)).reshape(*x.shape[:-1], v.shape[1])


def _one_by_one(
    dot_general: DotGeneral, precision: lax.PrecisionLike, x: Array, u: Array, v: Array
) -> Array:
    """Multiplies by one matrix after the other."""
    dot = functools.partial(dot_general, precision=precision)
    last_by_first = (((x.ndim - 1,), (0,)), ((), ()))
    return dot(dot(x, u, last_by_first), v, last_by_first)


def _planned(precision: lax.PrecisionLike, x: Array, matrices: tuple[Array, Array]) -> Array:
    """Multiplies samples, by a native kernel where there can be one."""
    u, v = matrices
    if not suits_low_rank(x.dtype, u.dtype, v.dtype, rank=v.shape[0]):
        return _one_by_one(own_dot_general, precision, x, u, v)
    return differentiable(_Thin(precision), *vary_alike(x, (u.T[:, :, None], v[:, None])))


@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)
def _shared_out(precision: lax.PrecisionLike, share: Share, x: Array, u: Array, v: Array) -> Array:
    specs = PartitionSpec(share.rows), PartitionSpec(None, share.columns)
    return shared_out(functools.partial(_planned, precision), share, x, (u, v), specs)


@dataclasses.dataclass(frozen=True)
class _Thin(Product):
    """What is static in the product."""

    precision: lax.PrecisionLike

    def multiply(self, x: Array, factors: Any) -> Array:
        """Returns the product."""
        return _multiply(self, x, *factors)

    def gradients(
        self, x: Array, factors: Any, g: Array, *, of_samples: bool
    ) -> tuple[Array | None, Any]:
        """Returns the gradients."""
        *of_x, of_u, of_v = _gradients(self, x, *factors, g, of_samples)
        return (*of_x, None)[0], (of_u, of_v)


@dataclasses.dataclass(frozen=True)
class _ByXLA:
    """What XLA does in place of the kernel."""

    precision: lax.PrecisionLike

    def __call__(self, x: Array, u: Array, v: Array) -> Array:
        dot = functools.partial(
            own_dot_general, dimension_numbers=(((1,), (0,)), ((), ())), precision=self.precision
        )
        return dot(dot(x, u[:, :, 0].T), v[:, 0])


@dataclasses.dataclass(frozen=True)
class _GradientsByXLA:
    """The gradients, likewise."""

    product: _ByXLA
    of_samples: bool

    def __call__(self, x: Array, u: Array, v: Array, g: Array) -> tuple[Array, ...]:
        if self.of_samples:
            return jax.vjp(self.product, x, u, v)[1](g)
        return jax.vjp(functools.partial(self.product, x), u, v)[1](g)


# Jitted, so that a call outside of jit does not compile anew each time.
@functools.partial(jax.jit, static_argnums=0, inline=True)
def _multiply(thin: _Thin, x: Array, u: Array, v: Array) -> Array:
    program = _ByXLA(thin.precision)
    if not gains_forward(x.shape[1], u.shape[0]):
        return program(x, u, v)
    return multiply_low_rank(x, u, v, program)


@functools.partial(jax.jit, static_argnums=(0, 5), inline=True)
def _gradients(
    thin: _Thin, x: Array, u: Array, v: Array, g: Array, of_samples: bool
) -> tuple[Array, ...]:
    program = _GradientsByXLA(_ByXLA(thin.precision), of_samples)
    return gradients_low_rank(x, u, v, g, program, of_samples=of_samples)
