"""What a product with a kernel is, in any layout: rows of samples times a matrix."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from kfc_jax.tracing.views import Atom, View


@dataclasses.dataclass(frozen=True)
class Reading:
    """A product of an array with a kernel, as ``lax.dot_general`` has it.

    Attributes:
      view: the kernel's view.
      is_left: whether the kernel is the first of the two.
      kernel_contract: the axes of the kernel's value that are summed over.
      contract: those of the array, in the same order.
      kernel_batch: the axes of the kernel's value that are kept apart, one matrix an index.
      batch: those of the array, in the same order.
    """

    view: View
    is_left: bool
    kernel_contract: tuple[int, ...]
    contract: tuple[int, ...]
    kernel_batch: tuple[int, ...]
    batch: tuple[int, ...]

    @classmethod
    def of(cls, view: View, numbers: Any, *, is_left: bool) -> Reading:
        """Returns the product with the dimension numbers of ``lax.dot_general``."""
        contract, batch = (tuple(map(tuple, pair)) for pair in numbers)
        mine, other = (0, 1) if is_left else (1, 0)
        return cls(view, is_left, contract[mine], contract[other], batch[mine], batch[other])

    @property
    def summed(self) -> tuple[Atom, ...]:
        """The atoms that are summed over, in row-major order of the kernel."""
        return tuple(sorted(self.view.of_axes(self.kernel_contract)))

    @property
    def stacked(self) -> tuple[Atom, ...]:
        """The atoms that count matrices, in the order of the product's first axes."""
        return self.view.of_axes(self.kernel_batch)

    @property
    def kept(self) -> tuple[Atom, ...]:
        """The atoms that are the outputs, in row-major order of the kernel."""
        return tuple(sorted(self.view.of_axes(self._kernel_free)))

    @property
    def _kernel_free(self) -> list[int]:
        used = {*self.kernel_contract, *self.kernel_batch}
        return [axis for axis in range(len(self.view.axes)) if axis not in used]

    def inputs_of(self, x: Array) -> Array:
        """Returns the array as samples ``(*stacked, *samples, inputs)``."""
        used = {*self.contract, *self.batch}
        free = [axis for axis in range(x.ndim) if axis not in used]
        x = jnp.transpose(x, (*self.batch, *free, *self.contract))
        leading = x.shape[: len(self.batch) + len(free)]
        atoms = self.view.of_axes(self.kernel_contract)
        x = x.reshape(*leading, *(atom.size for atom in atoms))
        order = _places(self.summed, atoms, offset=len(leading))
        x = x.transpose(*range(len(leading)), *order)
        return x.reshape(*leading, math.prod(atom.size for atom in atoms))

    def outputs_of(self, y: Array) -> Array:
        """Returns what ``lax.dot_general`` does for outputs ``(*stacked, *samples, features)``."""
        leading, free = y.shape[:-1], self._kernel_free
        y = y.reshape(*leading, *(atom.size for atom in self.kept))
        atoms = self.view.of_axes(free)
        order = _places(atoms, self.kept, offset=len(leading))
        y = y.transpose(*range(len(leading)), *order)
        y = y.reshape(*leading, *(self.view.shape[axis] for axis in free))
        if not self.is_left:
            return y
        count, batch = len(free), len(self.batch)
        samples = range(batch, len(leading))
        return y.transpose(*range(batch), *range(y.ndim - count, y.ndim), *samples)


def _places(wanted: Sequence[Atom], there: Sequence[Atom], *, offset: int) -> list[int]:
    return [offset + there.index(atom) for atom in wanted]


def over_stack(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """Returns the function mapped over ``count`` first axes of all its arguments."""
    for _ in range(count):
        function = jax.vmap(function)
    return function
