"""A product that is shared out over a mesh whose axes are part of the arrays' types.

Every device plans and does its share: of the samples, and of the kernel's rows and columns, where
these are split as the slow index of both is, that of the first factors. What is split otherwise is
gathered first, factor by factor: they are small, and the kernel is never there.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Inexact

from kfc_jax.product.sharding import vary_alike

Axes = tuple[str, ...]
"""The axes of a mesh that an axis of an array is split over."""


@dataclasses.dataclass(frozen=True)
class Share:
    """What every device has of a product.

    Attributes:
      mesh: the devices.
      samples: the axes of the mesh over which samples are split.
      rows: those over which inputs and the rows of the kernel are split.
      columns: those over which features and the columns of the kernel are split.
    """

    mesh: AbstractMesh
    samples: Axes
    rows: Axes
    columns: Axes

    def parts(self, axes: Axes) -> int:
        """Returns the number of devices along some axes."""
        return math.prod(self.mesh.shape[axis] for axis in axes)


def axes_of(array: Array, axis: int) -> Axes:
    """Returns the axes of a mesh that an axis of an array is split over, by its type."""
    entry = jax.typeof(array).sharding.spec[axis]
    return () if entry is None else entry if isinstance(entry, tuple) else (entry,)


def find_share(
    x: Inexact[Array, "batch inputs"], rows: Sequence[Axes], columns: Sequence[Axes]
) -> Share | None:
    """Returns how a product is shared out, or None if every device has to do all of it.

    Args:
      x: the samples.
      rows: what the rows of the arrays with the kernel's slow row index are split over.
      columns: likewise of the slow column index.
    """
    mesh = jax.typeof(x).sharding.mesh
    if mesh.empty or any(kind != AxisType.Explicit for kind in mesh.axis_types):
        return None
    samples = axes_of(x, 0)
    taken = set(samples)
    of_rows = _common([*rows, axes_of(x, 1)], taken)
    of_columns = _common(columns, taken | set(of_rows))
    share = Share(mesh, samples, of_rows, of_columns)
    return share if samples or of_rows or of_columns else None


def shared_out(
    function: Callable[[Any, Any], Any],
    share: Share,
    x: Inexact[Array, "batch inputs"],
    factors: Any,
    specs: Any,
) -> Inexact[Array, "batch features"]:
    """Returns the product that every device does a share of.

    Args:
      function: multiplies a device's samples by its factors.
      share: what every device has.
      x: the samples.
      factors: arrays in any tree.
      specs: for every one how it is split.
    """
    of_samples = PartitionSpec(share.samples, share.rows)

    def run(x: Array, factors: Any) -> Array:
        y = function(*vary_alike(x, factors))
        return lax.psum(y, share.rows) if share.rows else y

    placed = functools.partial(_place, share.mesh)
    mapped = jax.shard_map(
        run,
        mesh=share.mesh,
        in_specs=(of_samples, specs),
        out_specs=PartitionSpec(share.samples, share.columns),
    )
    return mapped(placed(x, of_samples), jax.tree.map(placed, factors, specs))


def flatten_samples(x: Inexact[Array, "*batch inputs"]) -> Inexact[Array, "samples inputs"]:
    """Makes one axis of all leading ones; of these the first alone stays split by type."""
    if x.ndim > 2 and any(axes_of(x, axis) for axis in range(1, x.ndim - 1)):
        whole = [None] * (x.ndim - 2)
        spec = PartitionSpec(axes_of(x, 0), *whole, axes_of(x, x.ndim - 1))
        x = _place(jax.typeof(x).sharding.mesh, x, spec)
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _common(found: Sequence[Axes], taken: set[str]) -> Axes:
    """Returns what all are split over, if it is the same and free."""
    (axes, *others) = set(found)
    return () if others or taken & set(axes) else axes


def _place(mesh: Any, array: Array, spec: PartitionSpec) -> Array:
    return jax.sharding.reshard(array, NamedSharding(mesh, spec))
