"""The product with two thin matrices and its gradients, as JAX operations.

Both matrices are handed on as factors, columns `(rank, inputs, 1)` and rows `(rank, 1, features)`:
the same sum of Kronecker products, so that devices share the work as for factors.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from kfc_jax.product.native.handler import BATCH, Handler
from kfc_jax.product.native.host import host, unavailable
from kfc_jax.product.native.kernels import MOST_SCRATCH
from kfc_jax.product.native.low_rank import ThinKernel, thin_handler
from kfc_jax.product.native.partitioning import split_gradients, split_multiply
from kfc_jax.product.native.primitive import StandIn, is_registered, make_primitive

_MOST_RANK = 16  # above, XLA's products are large enough to be fast
_SURE_RANK = 8  # up to it, forward too, whatever the size
_MOST_TURNED = 2**14  # numbers of U above which turning it costs more than a forward pass gains


def suits_low_rank(*dtypes: Any, rank: int) -> bool:
    """Says whether matrices of these types and this rank can have a kernel that is worth it."""
    names = {np.dtype(dtype).name for dtype in dtypes}
    return not unavailable() and rank <= _MOST_RANK and names in ({"float32"}, {"float64"})


def gains_forward(inputs: int, rank: int) -> bool:
    """Says whether a forward pass is worth the turning of a first matrix of that size."""
    return rank <= _SURE_RANK or inputs * rank <= _MOST_TURNED


def multiply_low_rank(
    x: Float[Array, "batch inputs"],
    u: Float[Array, "rank inputs 1"],
    v: Float[Array, "rank 1 features"],
    program: StandIn,
) -> Float[Array, "batch features"]:
    """Returns ``x @ U @ V``, by a kernel where there is one.

    Args:
      x: samples.
      u: columns of the first matrix, of their type.
      v: rows of the second, likewise.
      program: XLA's program of ``(x, u, v)``, where there is no kernel.
    """
    (y,) = _multiply_p.bind(x, u, v, program=program)
    return y


def gradients_low_rank(
    x: Float[Array, "batch inputs"],
    u: Float[Array, "rank inputs 1"],
    v: Float[Array, "rank 1 features"],
    g: Float[Array, "batch features"],
    program: StandIn,
    *,
    of_samples: bool,
) -> tuple[Array, ...]:
    """Returns the gradients of ``sum(g * multiply_low_rank(x, u, v))`` by ``x``, ``u`` and ``v``.

    Args:
      x: samples.
      u: columns of the first matrix.
      v: rows of the second.
      g: gradient of the result.
      program: XLA's program of ``(x, u, v, g)``.
      of_samples: whether the gradient of ``x`` is wanted; it is left out otherwise.
    """
    return tuple(_gradients_p.bind(x, u, v, g, program=program, of_samples=of_samples))


@functools.cache
def _registered(kernel: ThinKernel) -> Handler | None:
    """Returns a kernel's handler, known to XLA; None if there is none."""
    if kernel.scratch(host()) > MOST_SCRATCH:
        return None
    handler = thin_handler(kernel)
    return handler if is_registered(handler) else None


def _handler_of(arrays: Sequence[Array], **way: bool) -> Handler | None:
    """Returns the handler for arrays of these types; None if there is none."""
    (batch, inputs), (rank, _, features) = arrays[0].shape, arrays[2].shape
    if not batch or not suits_low_rank(*(array.dtype for array in arrays), rank=rank):
        return None
    return _registered(ThinKernel(inputs, rank, features, arrays[0].dtype.name, batch, **way))


def _call(handler: Handler, x: Array, u: Array, v: Array, *g: Array) -> Sequence[Array]:
    shapes = [
        tuple(x.shape[0] if size == BATCH else size for size in result.shape)
        for result in handler.results
    ]
    results = [jax.ShapeDtypeStruct(shape, x.dtype) for shape in shapes]
    return jax.ffi.ffi_call(handler.name, results)(x, u, v, *g)


def _multiply(x: Array, u: Array, v: Array, *, program: StandIn) -> Any:
    handler = _handler_of((x, u, v))
    return _call(handler, x, u, v) if handler else program(x, u, v)


def _gradients(
    x: Array, u: Array, v: Array, g: Array, *, program: StandIn, of_samples: bool
) -> Any:
    handler = _handler_of((x, u, v, g), backward=True, of_samples=of_samples)
    if handler is None:
        return program(x, u, v, g)
    *gradients, _ = _call(handler, x, u, v, g)
    return gradients


_multiply_p = make_primitive(
    "kfc_multiply_low_rank",
    _multiply,
    lambda x, u, v, **_: [((x.shape[0], v.shape[2]), x.dtype)],
    split=split_multiply,
    takes_samples=True,
)
_gradients_p = make_primitive(
    "kfc_gradients_low_rank",
    _gradients,
    lambda x, u, v, g, *, of_samples, **_: [
        (array.shape, array.dtype) for array in ((x, u, v) if of_samples else (u, v))
    ],
    split=lambda call: split_gradients(call, of_samples=call.keywords["of_samples"]),
)
