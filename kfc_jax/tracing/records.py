"""What is recorded while a program runs: sums by path, carried out of its loops."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=("count", "mean", "scatter"), meta_fields=()
)
@dataclasses.dataclass(frozen=True)
class Sums:
    """How many inputs there were, their mean, and the sum of their second moments about it.

    Attributes:
      count: ``(*stack,)``
      mean: ``(*stack, inputs)``
      scatter: ``(*stack, inputs, inputs)``
    """

    count: Any
    mean: Any
    scatter: Any

    @classmethod
    def of(cls, inputs: Float[Array, "*samples inputs"]) -> Sums:
        """Returns the sums of inputs in float32; about their mean, far from 0 as it may be."""
        x = inputs.reshape(-1, inputs.shape[-1]).astype(jnp.float32)
        about = x.mean(0) if len(x) else jnp.zeros(x.shape[1])
        x -= about
        rest = x.sum(0) / max(1, len(x))
        scatter = jnp.matmul(x.T, x, precision=lax.Precision.HIGHEST)
        return cls(jnp.float32(len(x)), about + rest, scatter - len(x) * jnp.outer(rest, rest))

    def __add__(self, other: Sums) -> Sums:
        """Returns the sums of both (Chan, Golub & LeVeque, 1983, eq. 2.1)."""
        count = self.count + other.count
        share = other.count / (count + (count == 0))
        apart = other.mean - self.mean
        mean = self.mean + apart * share[..., None]
        between = apart[..., :, None] * apart[..., None, :]
        scatter = self.scatter + other.scatter + between * (self.count * share)[..., None, None]
        return Sums(count, mean, scatter)

    def on_host(self) -> Sums:
        """Returns them in float64, of NumPy."""
        return jax.tree.map(lambda array: np.asarray(array, np.float64), self)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=("sums",), meta_fields=("stack", "slices")
)
@dataclasses.dataclass(frozen=True)
class Record:
    """What was recorded of one kernel.

    Attributes:
      sums: of all times that it was read so far.
      stack: the axes of the kernel that the sums' first axes are.
      slices: the loops that slice the kernel and are not left yet, innermost last, with the axis.
    """

    sums: Sums
    stack: tuple[int, ...] = ()
    slices: tuple[tuple[int, int], ...] = ()

    def __add__(self, other: Record) -> Record:
        """Returns both together."""
        if (self.stack, self.slices) != (other.stack, other.slices):
            raise ValueError("A kernel is read as one matrix here and as a stack of them there.")
        return dataclasses.replace(self, sums=self.sums + other.sums)

    def is_sliced_by(self, loop: int) -> bool:
        """Says whether a loop slices the kernel."""
        return bool(self.slices) and self.slices[-1][0] == loop

    def after(self, loop: int) -> Record:
        """Returns the record behind the loop that slices the kernel, its sums stacked."""
        assert self.is_sliced_by(loop)
        return Record(self.sums, (self.slices[-1][1], *self.stack), self.slices[:-1])


class Records(dict[str, Record]):
    """Records by the paths of kernels."""

    def add(self, path: str, record: Record) -> None:
        """Adds to what is recorded of a kernel."""
        self[path] = self[path] + record if path in self else record

    def update_with(self, other: dict[str, Record]) -> None:
        """Adds all of another level."""
        for path, record in other.items():
            self.add(path, record)


def empty_like(records: dict[str, Any]) -> dict[str, Record]:
    """Returns records of nothing with the shapes of others."""
    return jax.tree.map(lambda array: jnp.zeros(array.shape, array.dtype), records)
