"""The kernel that two factors stand for, and the factors' gradients from its, as JAX operations."""

from __future__ import annotations

import functools

import jax
from jaxtyping import Array, Float

from kfc_jax.product.native.forming import (
    Former,
    forming_handler,
    left_gradient_handler,
    right_gradient_handler,
)
from kfc_jax.product.native.handler import Handler
from kfc_jax.product.native.host import unavailable
from kfc_jax.product.native.primitive import StandIn, is_registered, make_primitive

COMPUTED_WITH = ("float32", "float64")
"""Types of factors whose kernels are formed here."""


def form(
    a: Float[Array, "rank rows_a columns_a"],
    b: Float[Array, "rank rows_b columns_b"],
    program: StandIn,
) -> Float[Array, "inputs features"]:
    """Returns ``sum_r A_r (x) B_r``, by a kernel of machine code where there is one.

    Args:
      a: left factor, of one of COMPUTED_WITH.
      b: right factor, of the same type.
      program: XLA's program of ``(a, b)``, where there is none.
    """
    (kernel,) = _form_p.bind(a, b, program=program)
    return kernel


def gradients_of_factors(
    a: Float[Array, "rank rows_a columns_a"],
    b: Float[Array, "rank rows_b columns_b"],
    of_kernel: Float[Array, "inputs features"],
    program: StandIn,
) -> tuple[Array, Array]:
    """Returns the gradients of ``sum(of_kernel * form(a, b))`` by ``a`` and ``b``.

    Args:
      a: left factor, as for ``form``.
      b: right factor.
      of_kernel: gradient of the kernel, of their type.
      program: XLA's program of the three, where there is no kernel of machine code.
    """
    of_a, of_b = _gradients_p.bind(a, b, of_kernel, program=program)
    return of_a, of_b


@functools.cache
def _registered(former: Former) -> tuple[Handler, Handler, Handler] | None:
    handlers = (
        forming_handler(former),
        left_gradient_handler(former),
        right_gradient_handler(former),
    )
    return handlers if all(map(is_registered, handlers)) else None


def _handlers(a: Array, b: Array) -> tuple[Handler, Handler, Handler] | None:
    if unavailable() or a.dtype != b.dtype or a.dtype.name not in COMPUTED_WITH or not a.shape[0]:
        return None
    (rank, n1, m1), (_, n2, m2) = a.shape, b.shape
    return _registered(Former(((n1, m1), (n2, m2)), rank, a.dtype.name))


def _call(handler: Handler, rows: int, *arrays: Array) -> Array:
    (result,) = handler.results
    shape = jax.ShapeDtypeStruct((rows, *result.shape[1:]), arrays[0].dtype)
    return jax.ffi.ffi_call(handler.name, shape)(*arrays)


def _form(a: Array, b: Array, *, program: StandIn) -> Array:
    if not (handlers := _handlers(a, b)):
        return program(a, b)
    (_, n1, m1), (_, n2, m2) = a.shape, b.shape
    return _call(handlers[0], n1, a.transpose(1, 0, 2), b).reshape(n1 * n2, m1 * m2)


def _gradients(a: Array, b: Array, of_kernel: Array, *, program: StandIn) -> tuple[Array, Array]:
    handlers = _handlers(a, b)
    if not handlers or of_kernel.dtype != a.dtype:
        return program(a, b, of_kernel)
    (_, n1, m1), (_, n2, m2) = a.shape, b.shape
    parts = of_kernel.reshape(n1, n2, m1, m2)
    of_a = _call(handlers[1], n1, parts, b.transpose(1, 2, 0)).transpose(2, 0, 1)
    of_b = _call(handlers[2], n2, parts, a.transpose(1, 0, 2)).transpose(1, 0, 2)
    return of_a, of_b


_form_p = make_primitive(
    "kfc_form",
    _form,
    lambda a, b, **_: [((a.shape[1] * b.shape[1], a.shape[2] * b.shape[2]), a.dtype)],
)
_gradients_p = make_primitive(
    "kfc_gradients_of_factors",
    _gradients,
    lambda a, b, of_kernel, **_: [(v.shape, v.dtype) for v in (a, b)],
)
