"""Arrays that lie split over devices: gathered, or marked as varying alike, before a product."""

from __future__ import annotations

from typing import Any

import jax
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array


def is_sharded_by_type(array: Array) -> bool:
    """Whether the array's type says that it lies split over a mesh with explicit axes."""
    return any(axis is not None for axis in jax.typeof(array).sharding.spec)


def gather(array: Array, keep: int = 0) -> Array:
    """Returns an array whose type says that its axes, but for the first `keep`, are not split.

    Factors are small, and their axes are reshaped and summed in ways that a split axis does not
    survive: every device gets all of them, and the gradient goes back to where they lie.
    """
    if not is_sharded_by_type(array):
        return array
    sharding = jax.typeof(array).sharding
    spec = [*sharding.spec[:keep], *(None for _ in range(array.ndim - keep))]
    return jax.sharding.reshard(array, NamedSharding(sharding.mesh, PartitionSpec(*spec)))


def varying_axes(array_type: Any) -> frozenset[str]:
    """Returns the mesh axes that an array varies over inside ``shard_map``, by its type."""
    axes = array_type.manual_axis_type
    return axes.varying if axes else frozenset()


def vary_alike(x: Array, factors: Any) -> tuple[Array, Any]:
    """Marks all arrays as varying over the same mesh axes, where they are inside ``shard_map``.

    Gradients of factors that all devices share are then summed over the devices.
    """
    leaves = jax.tree.leaves((x, factors))
    axes = frozenset().union(*(varying_axes(jax.typeof(leaf)) for leaf in leaves))

    def vary(leaf: Array) -> Array:
        missing = tuple(sorted(axes - varying_axes(jax.typeof(leaf))))
        return lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(vary, (x, factors)) if axes else (x, factors)
