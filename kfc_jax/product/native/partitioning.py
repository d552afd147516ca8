"""Calls of kernels in programs that are split over devices: each device treats its own samples.

Without a rule the compiler would gather a batch that is sharded by `jit` before the call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

_SIZES = ("n", "r", "i", "j", "k", "l", "m")  # in the order of the rules, which is asked for


def split_multiply(call: Callable[..., Any]) -> Callable[..., Any]:
    """Returns ``call(x, a, b)``, partitioned over the samples."""
    return _split(call, "b n, r i j, r k l -> b m", sums=False)


def split_gradients(call: Callable[..., Any], *, of_samples: bool = True) -> Callable[..., Any]:
    """Returns ``call(x, a, b, g)``; the factors' gradients are summed over the devices.

    Those of the samples come first, unless they are left out.
    """
    of_x = "b n, " if of_samples else ""
    return _split(call, f"b n, r i j, r k l, b m -> {of_x}r i j, r k l", sums=True)


def _devices_along(mesh: Any, axes: str | tuple[str, ...] | None) -> int:
    """Returns over how many devices some axes of a mesh split an array."""
    names = (axes,) if isinstance(axes, str) else axes or ()
    return math.prod(mesh.shape[name] for name in names)


def _split(call: Callable[..., Any], rule: str, *, sums: bool) -> Callable[..., Any]:
    split = custom_partitioning(lambda *arrays: call(*arrays))

    def shardings(mesh: Any, arguments: Any, results: Any) -> tuple[Any, Any, Any]:
        batch = arguments[0].sharding.spec[:1]
        axes = batch[0] if batch else None
        if sums and arguments[0].shape[0] % _devices_along(mesh, axes):
            axes = None  # what fills up the last device's samples must not enter the sums
        of_samples, replicated = (NamedSharding(mesh, PartitionSpec(a)) for a in (axes, None))
        # Samples and their gradients have two axes, factors three.
        of_arguments = tuple(of_samples if a.ndim == 2 else replicated for a in arguments)
        of_results = jax.tree.map(lambda r: of_samples if r.ndim == 2 else replicated, results)
        return axes, of_arguments, of_results

    def infer(mesh: Any, arguments: Any, results: Any) -> Any:
        return shardings(mesh, arguments, results)[2]

    def partition(mesh: Any, arguments: Any, results: Any) -> Any:
        axes, of_arguments, of_results = shardings(mesh, arguments, results)

        def on_a_device(*arrays: Any) -> Any:
            out = call(*arrays)
            if sums and axes:
                return tuple(jax.lax.psum(r, axes) if r.ndim == 3 else r for r in out)
            return out

        return mesh, on_a_device, of_results, of_arguments

    split.def_partition(
        partition=partition,
        infer_sharding_from_operands=infer,
        sharding_rule=rule,
        need_replication_factors=tuple(f for f in _SIZES if f in rule.replace(",", " ").split()),
    )
    return split
