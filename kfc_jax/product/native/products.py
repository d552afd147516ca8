"""The product with a term of two factors and its gradients, as JAX operations."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
from jaxtyping import Array, Float

from kfc_jax.product.native.backward import backward_handler
from kfc_jax.product.native.forward import forward_handler
from kfc_jax.product.native.handler import Handler
from kfc_jax.product.native.host import unavailable
from kfc_jax.product.native.kernels import Kernel, make_kernel
from kfc_jax.product.native.partitioning import split_gradients, split_multiply
from kfc_jax.product.native.primitive import StandIn, is_registered, make_primitive


def multiply(
    x: Float[Array, "batch inputs"],
    a: Float[Array, "rank rows_a columns_a"],
    b: Float[Array, "rank rows_b columns_b"],
    features: int,
    program: StandIn,
    *,
    left_first: bool,
) -> Float[Array, "batch features"]:
    """Returns ``x @ sum_r A_r (x) B_r``, cut to `features`, by a kernel where there is one.

    Args:
      x: samples in float32, bfloat16 or float64; up to as many inputs as the factors have rows.
      a: left factor, of the type that is computed with: float32, for float64 samples float64.
      b: right factor, likewise.
      features: columns of the result.
      program: XLA's program of ``(x, a, b)``, where there is no kernel.
      left_first: whether ``a`` is contracted before ``b``.
    """
    (y,) = _multiply_p.bind(x, a, b, features=features, program=program, left_first=left_first)
    return y


def gradients(
    x: Float[Array, "batch inputs"],
    a: Float[Array, "rank rows_a columns_a"],
    b: Float[Array, "rank rows_b columns_b"],
    g: Float[Array, "batch features"],
    program: StandIn,
    *,
    left_first: bool,
) -> tuple[Array, Array, Array]:
    """Returns the gradients of ``sum(g * multiply(x, a, b))`` by ``x``, ``a`` and ``b``.

    Args:
      x: samples, as for ``multiply``.
      a: left factor.
      b: right factor.
      g: gradient of the result.
      program: XLA's program of ``(x, a, b, g)``.
      left_first: whether ``a`` is contracted before ``b``.
    """
    return tuple(_gradients_p.bind(x, a, b, g, program=program, left_first=left_first))


def _kernel_of(
    avals: Sequence[Any], features: int, *, backward: bool, left_first: bool
) -> Kernel | None:
    """Returns the kernel for arrays of these types; None if there is none."""
    x, a, b = avals[:3]
    if unavailable() or not isinstance(x.shape[0], int) or not x.shape[0]:
        return None
    batch, inputs = x.shape
    rank, *left = a.shape
    kernel = make_kernel(
        (tuple(left), tuple(b.shape[1:])),
        rank,
        inputs,
        features,
        x.dtype.name,
        batch,
        backward=backward,
        left_first=left_first,
    )
    is_computed_with = kernel is not None and all(v.dtype.name == kernel.compute for v in (a, b))
    return kernel if is_computed_with else None


@functools.cache
def _registered(kernel: Kernel, slots: int = 0) -> Handler | None:
    """Returns a kernel's handler, known to XLA; None if there is none."""
    handler = backward_handler(kernel, slots) if kernel.backward else forward_handler(kernel)
    return handler if is_registered(handler) else None


def _call_multiply(
    x: Array, a: Array, b: Array, *, features: int, program: StandIn, left_first: bool
) -> Array:
    kernel = _kernel_of((x, a, b), features, backward=False, left_first=left_first)
    handler = _registered(kernel) if kernel else None
    if handler is None:
        return program(x, a, b)
    result = jax.ShapeDtypeStruct((x.shape[0], features), x.dtype)
    return jax.ffi.ffi_call(handler.name, result)(x, a, b)


def _call_gradients(
    x: Array, a: Array, b: Array, g: Array, *, program: StandIn, left_first: bool
) -> tuple[Array, Array, Array]:
    kernel = _kernel_of((x, a, b), g.shape[1], backward=True, left_first=left_first)
    handler = _registered(kernel, kernel.slots(x.shape[0])) if kernel else None
    if handler is None:
        return program(x, a, b, g)
    results = [jax.ShapeDtypeStruct(x.shape, x.dtype)]
    results += [jax.ShapeDtypeStruct(array.shape, a.dtype) for array in handler.results[1:]]
    of_x, of_a, of_b, _ = jax.ffi.ffi_call(handler.name, results)(x, a, b, b.transpose(0, 2, 1), g)
    return of_x, of_a, of_b


_multiply_p = make_primitive(
    "kfc_multiply",
    _call_multiply,
    lambda x, a, b, features, **_: [((x.shape[0], features), x.dtype)],
    split=split_multiply,
    takes_samples=True,
)
_gradients_p = make_primitive(
    "kfc_gradients",
    _call_gradients,
    lambda x, a, b, g, **_: [(v.shape, v.dtype) for v in (x, a, b)],
    split=split_gradients,
)
