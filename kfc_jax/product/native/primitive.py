"""Native kernels as JAX primitives: traced like any operation, and lowered to a call on the CPU.

Each carries the XLA program that stands for it wherever a kernel cannot: on other platforms, in
exported programs (which may run on another machine), for derivatives of higher order, and for
mapped factors.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from kfc_jax.product.native.handler import Handler, handler_ir
from kfc_jax.product.native.host import host

_log = logging.getLogger(__name__)

StandIn = Callable[..., Any]
"""What XLA does in place of a kernel: hashable, and of the same arguments and results."""


def is_registered(handler: Handler) -> bool:
    """Makes a handler known to XLA; False, and a line of log, if LLVM refuses it."""
    # Imported where there is LLVM.
    from kfc_jax.product.native.compiler import register

    try:
        register(handler.name, handler_ir(handler, host()), host())
    except RuntimeError as error:
        _log.warning("XLA's program does a product, as LLVM makes no kernel for it: %s.", error)
        return False
    return True


def make_primitive(
    name: str,
    call: Callable[..., Any],
    results: Callable[..., list[tuple[tuple[int, ...], Any]]],
    *,
    split: Callable[..., Any] | None = None,
    takes_samples: bool = False,
) -> Primitive:
    """Returns a primitive that is `call` on the CPU of this process, and its program elsewhere.

    Args:
      name: of the primitive.
      call: what it does, given arrays and parameters, one of which is the `program` of XLA.
      results: shapes and types of what it returns, given types of arrays and parameters.
      split: returns the call for a program that is split over devices; None: XLA's program.
      takes_samples: whether the first array has samples, so that a mapped axis of it is more.
    """
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
        devices = getattr(module.axis_context, "device_assignment", None)
        is_split = devices is not None and len(devices) > 1
        is_exported = getattr(module.lowering_parameters, "for_export", True)
        if is_elsewhere or is_exported or (is_split and split is None):
            function = program_of(params)
        else:
            kernel = functools.partial(call, **params)
            function = functools.partial(_listed, split(kernel) if is_split and split else kernel)
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
        if takes_samples and is_mapped == [True] + [False] * (len(arrays) - 1):
            x, *factors = arrays
            mapped, samples, inputs = x.shape
            (y,) = primitive.bind(x.reshape(mapped * samples, inputs), *factors, **params)
            return [y.reshape(mapped, samples, y.shape[1])], [0]
        in_axes = [0 if mapped else None for mapped in is_mapped]
        out = jax.vmap(program_of(params), in_axes=in_axes)(*arrays)
        return out, [0] * len(out)

    def transpose(cotangents: Sequence[Any], *arrays: Any, **params: Any) -> list[Any]:
        """Of an array in which it is linear, the others being known."""
        unknown = [ad.is_undefined_primal(array) for array in arrays]

        def of_unknown(*values: Array) -> list[Any]:
            remaining = iter(values)
            known = [next(remaining) if u else a for a, u in zip(arrays, unknown, strict=True)]
            return program_of(params)(*known)

        types = [array.aval for array in arrays if ad.is_undefined_primal(array)]
        back = jax.linear_transpose(of_unknown, *types)
        found = iter(back([ad.instantiate_zeros(cotangent) for cotangent in cotangents]))
        return [next(found) if is_unknown else None for is_unknown in unknown]

    primitive.def_abstract_eval(abstract)
    mlir.register_lowering(primitive, lower)
    ad.primitive_jvps[primitive] = jvp
    ad.primitive_transposes[primitive] = transpose
    batching.primitive_batchers[primitive] = batch
    _let_jax_call(primitive)
    return primitive


def _let_jax_call(primitive: Primitive) -> None:
    """Lets JAX call a primitive outside of jit, and tell its lowering the devices of a program.

    Nothing public does either; where it has moved, a call compiles anew, and no program is split.
    """
    try:
        from jax._src.dispatch import apply_primitive, prim_requires_devices_during_lowering
    except ImportError:
        primitive.def_impl(lambda *a, **p: jax.jit(functools.partial(primitive.bind, **p))(*a))
        return
    primitive.def_impl(functools.partial(apply_primitive, primitive))
    prim_requires_devices_during_lowering.add(primitive)


def _listed(call: Callable[..., Any], *arrays: Array, **params: Any) -> list[Array]:
    return _as_list(call(*arrays, **params))


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple | list) else [value]
