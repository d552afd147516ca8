"""Native kernels as JAX primitives: traced like any operation, and lowered to a call on the CPU.

Two primitives, a product and its gradients. Each carries the XLA program that stands for it
wherever a kernel cannot: on other platforms, in exported programs (which may run on another
machine), for derivatives of higher order, and for mapped factors.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from kfc_jax.product.native.backward import backward_handler
from kfc_jax.product.native.forward import forward_handler
from kfc_jax.product.native.handler import Handler, handler_ir
from kfc_jax.product.native.host import host, unavailable
from kfc_jax.product.native.kernels import Kernel, make_kernel
from kfc_jax.product.native.partitioning import split_gradients, split_multiply

_log = logging.getLogger(__name__)

Program = Callable[..., Any]
"""What XLA does in place of a kernel: hashable, and of the same arguments and results."""


def multiply(
    x: Float[Array, "batch inputs"],
    a: Float[Array, "rank rows_a columns_a"],
    b: Float[Array, "rank rows_b columns_b"],
    features: int,
    program: Program,
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
    program: Program,
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
    """Returns a kernel's handler, known to XLA; None, and a line of log, if LLVM refuses it."""
    # Imported where there is LLVM.
    from kfc_jax.product.native.compiler import register

    handler = backward_handler(kernel, slots) if kernel.backward else forward_handler(kernel)
    try:
        register(handler.name, handler_ir(handler, host()), host())
    except RuntimeError as error:
        _log.warning("XLA's program does a product, as LLVM makes no kernel for it: %s.", error)
        return None
    return handler


def _call_multiply(
    x: Array, a: Array, b: Array, *, features: int, program: Program, left_first: bool
) -> Array:
    kernel = _kernel_of((x, a, b), features, backward=False, left_first=left_first)
    handler = _registered(kernel) if kernel else None
    if handler is None:
        return program(x, a, b)
    result = jax.ShapeDtypeStruct((x.shape[0], features), x.dtype)
    return jax.ffi.ffi_call(handler.name, result)(x, a, b)


def _call_gradients(
    x: Array, a: Array, b: Array, g: Array, *, program: Program, left_first: bool
) -> tuple[Array, Array, Array]:
    kernel = _kernel_of((x, a, b), g.shape[1], backward=True, left_first=left_first)
    handler = _registered(kernel, kernel.slots(x.shape[0])) if kernel else None
    if handler is None:
        return program(x, a, b, g)
    results = [jax.ShapeDtypeStruct(x.shape, x.dtype)]
    results += [jax.ShapeDtypeStruct(array.shape, a.dtype) for array in handler.results[1:]]
    of_x, of_a, of_b, _ = jax.ffi.ffi_call(handler.name, results)(x, a, b, b.transpose(0, 2, 1), g)
    return of_x, of_a, of_b


def _primitive(
    name: str,
    call: Callable[..., Any],
    split: Callable[..., Any],
    results: Callable[..., list[tuple[tuple[int, ...], Any]]],
) -> Primitive:
    """Returns a primitive that is `call` on the CPU of this process, and its program elsewhere."""
    primitive = Primitive(name)
    primitive.multiple_results = True

    def program_of(params: dict[str, Any]) -> Callable[..., list[Any]]:
        return lambda *arrays: _as_list(params["program"](*arrays))

    def abstract(*avals: Any, **params: Any) -> list[Any]:
        mesh = avals[0].sharding.mesh

        def like(shape: tuple[int, ...], dtype: Any) -> Any:
            spec = jax.sharding.PartitionSpec(*[None] * len(shape))
            sharding = jax.sharding.NamedSharding(mesh, spec)
            return avals[0].update(shape=shape, dtype=dtype, weak_type=False, sharding=sharding)

        return [like(*result) for result in results(*avals, **params)]

    def lower(ctx: Any, *arrays: Any, **params: Any) -> Any:
        module = ctx.module_context
        is_elsewhere = tuple(ctx.platforms or module.platforms) != ("cpu",)
        if is_elsewhere or getattr(module.lowering_parameters, "for_export", True):
            function = program_of(params)
        else:
            kernel = functools.partial(call, **params)
            devices = getattr(module.axis_context, "device_assignment", None)
            is_split = devices is not None and len(devices) > 1
            function = functools.partial(_listed, split(kernel) if is_split else kernel)
        return mlir.lower_fun(function, multiple_results=True)(ctx, *arrays)

    def jvp(primals: Any, tangents: Any, **params: Any) -> Any:
        tangents = [ad.instantiate_zeros(tangent) for tangent in tangents]
        _, out = jax.jvp(program_of(params), tuple(primals), tuple(tangents))
        return primitive.bind(*primals, **params), out

    def batch(arrays: Sequence[Array], axes: Sequence[int | None], **params: Any) -> Any:
        is_mapped = [axis is not None for axis in axes]
        arrays = [
            array if axis is None else jnp.moveaxis(array, axis, 0)
            for array, axis in zip(arrays, axes, strict=True)
        ]
        if len(arrays) == 3 and is_mapped == [True, False, False]:  # more samples
            x, *factors = arrays
            (y,) = primitive.bind(x.reshape(-1, x.shape[-1]), *factors, **params)
            return [y.reshape(*x.shape[:2], -1)], [0]
        in_axes = [0 if mapped else None for mapped in is_mapped]
        out = jax.vmap(program_of(params), in_axes=in_axes)(*arrays)
        return out, [0] * len(out)

    primitive.def_abstract_eval(abstract)

    @functools.partial(jax.jit, static_argnums=0)
    def compiled(params: tuple[tuple[str, Any], ...], *arrays: Any) -> Any:
        return primitive.bind(*arrays, **dict(params))

    primitive.def_impl(lambda *arrays, **params: compiled(tuple(params.items()), *arrays))
    mlir.register_lowering(primitive, lower)
    ad.primitive_jvps[primitive] = jvp
    batching.primitive_batchers[primitive] = batch
    return primitive


def _listed(call: Callable[..., Any], *arrays: Array, **params: Any) -> list[Array]:
    return _as_list(call(*arrays, **params))


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple | list) else [value]


_multiply_p = _primitive(
    "kfc_multiply",
    _call_multiply,
    split_multiply,
    lambda x, a, b, features, **_: [((x.shape[0], features), x.dtype)],
)
_gradients_p = _primitive(
    "kfc_gradients",
    _call_gradients,
    split_gradients,
    lambda x, a, b, g, **_: [(v.shape, v.dtype) for v in (x, a, b)],
)
# Otherwise a lowering does not know the devices that a program is split over.
with contextlib.suppress(ImportError):
    from jax._src.dispatch import prim_requires_devices_during_lowering

    prim_requires_devices_during_lowering.update({_multiply_p, _gradients_p})
