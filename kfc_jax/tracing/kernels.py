"""Kernels on their way through a traced program, from the parameters to where they are read."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from kfc_jax.product import dense_kernel
from kfc_jax.structures import LayerStructure
from kfc_jax.tracing.views import Atom, View


@dataclasses.dataclass(frozen=True)
class KernelAxes:
    """Which axes of a stored kernel are what.

    Attributes:
      stack: those that count layers: each index is a kernel of its own.
      rows: those that together are the inputs.
      columns: those that together are the features.
    """

    stack: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    def to_matrices(self, kernel: Any) -> Any:
        """Returns a kernel ``(*stack, inputs, features)``, of NumPy or JAX as it was given."""
        order = (*self.stack, *self.rows, *self.columns)
        ordered = kernel.transpose(order)
        sizes = [math.prod(kernel.shape[i] for i in axes) for axes in (self.rows, self.columns)]
        return ordered.reshape(*(kernel.shape[i] for i in self.stack), *sizes)

    def from_matrices(self, matrices: Any, shape: Sequence[int]) -> Any:
        """Returns the kernel of a shape that `to_matrices` gives ``matrices`` for."""
        order = (*self.stack, *self.rows, *self.columns)
        inverse = [order.index(axis) for axis in range(len(order))]
        return matrices.reshape([shape[i] for i in order]).transpose(inverse)

    def size(self, shape: Sequence[int]) -> tuple[int, int]:
        """Returns the numbers of inputs and features of kernels stored in this shape."""
        inputs, features = (math.prod(shape[i] for i in axes) for axes in (self.rows, self.columns))
        return inputs, features


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("value",),
    meta_fields=("path", "view", "slices"),
)
@dataclasses.dataclass(frozen=True)
class DenseKernel:
    """A dense kernel, or a view of it, that is known by its path.

    Attributes:
      value: the array that the program has for it.
      path: the path of the array in the parameters.
      view: what became of the kernel's axes.
      slices: the loops in which it was sliced, outermost first, each with the axis.
    """

    value: Any
    path: str
    view: View
    slices: tuple[tuple[int, int], ...] = ()

    @property
    def dtype(self) -> Any:
        """The type of the value."""
        return self.value.dtype

    def materialize(self) -> Array:
        """Returns the array."""
        return self.value

    def rearranged(self, view: View, apply: Callable[[Any], Array]) -> DenseKernel:
        """Returns the kernel after an operation that moves its numbers."""
        return dataclasses.replace(self, value=apply(self.value), view=view)

    def cast(self, dtype: Any) -> DenseKernel:
        """Returns the kernel in another type."""
        return dataclasses.replace(self, value=self.value.astype(dtype))

    def mapped(self, function: Callable[[Any], Any]) -> DenseKernel:
        """Returns the kernel with a function applied that leaves its numbers."""
        return dataclasses.replace(self, value=function(self.value))

    def stacked(self) -> DenseKernel | None:
        """Returns the kernel as a loop over its first axis takes it; None if it cannot."""
        return self if len(self.view.axes[0]) == 1 else None

    def sliced(self, loop: int) -> DenseKernel:
        """Returns the slice that a loop sees; the array is one already."""
        slices = (*self.slices, (loop, self.view.axes[0][0].axis))
        return dataclasses.replace(self, view=self.view.without_atom(0), slices=slices)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("arrays",),
    meta_fields=("path", "view", "structure", "axes", "stack", "dtype", "slices"),
)
@dataclasses.dataclass(frozen=True)
class FactoredKernel:
    """A kernel that is stored as factors, and what the program did to the dense one.

    Attributes:
      arrays: the arrays of the structure by their names, behind the axes of ``stack``.
      path: the path of the dense kernel in the parameters.
      view: what became of the dense kernel's axes.
      structure: how one matrix is stored.
      axes: which axes of the dense kernel are what.
      stack: the axes of the dense kernel that the arrays' first axes are.
      dtype: the type of the value.
      slices: the loops in which it was sliced, outermost first, each with the axis.
    """

    arrays: dict[str, Any]
    path: str
    view: View
    structure: LayerStructure
    axes: KernelAxes
    stack: tuple[int, ...]
    dtype: Any
    slices: tuple[tuple[int, int], ...] = ()

    def materialize(self) -> Array:
        """Returns the dense value."""
        form = functools.partial(dense_kernel, self.structure)
        for _ in self.stack:
            form = jax.vmap(form)
        matrices = form(self.arrays)
        atoms = sorted(self.view.atoms)
        groups = [
            [atom for atom in atoms if atom.axis in axes]
            for axes in ([axis] for axis in self.stack)
        ]
        groups += [[a for a in atoms if a.axis in g] for g in (self.axes.rows, self.axes.columns)]
        ordered = [atom for group in groups for atom in group]
        value = matrices.reshape([atom.size for atom in ordered])
        value = value.transpose([ordered.index(atom) for atom in self.view.atoms])
        return value.reshape(self.view.shape).astype(self.dtype)

    def rearranged(self, view: View, apply: Callable[[Any], Array]) -> FactoredKernel:
        """Returns the kernel after an operation that moves its numbers."""
        del apply
        return dataclasses.replace(self, view=view)

    def cast(self, dtype: Any) -> FactoredKernel:
        """Returns the kernel in another type."""
        return dataclasses.replace(self, dtype=jnp.dtype(dtype))

    def mapped(self, function: Callable[[Any], Any]) -> FactoredKernel:
        """Returns the kernel with a function applied that leaves its numbers."""
        return dataclasses.replace(self, arrays=jax.tree.map(function, self.arrays))

    def stacked(self) -> FactoredKernel | None:
        """Returns the kernel as a loop over its first axis takes it; None if it cannot."""
        atoms = self.view.axes[0]
        if len(atoms) != 1 or atoms[0].axis not in self.stack or len(atoms[0].key) > 1:
            return None
        return self.with_stack_in_order([atoms[0].axis])

    def with_stack_in_order(self, first: Sequence[int]) -> FactoredKernel:
        """Returns the kernel with some axes of the stack before the others."""
        stack = (*first, *(axis for axis in self.stack if axis not in first))
        order = [self.stack.index(axis) for axis in stack]

        def move(array: Any) -> Any:
            return array.transpose(*order, *range(len(order), array.ndim))

        arrays = {name: move(jnp.asarray(array)) for name, array in self.arrays.items()}
        return dataclasses.replace(self, arrays=arrays, stack=stack)

    def sliced(self, loop: int) -> FactoredKernel:
        """Returns the slice that a loop sees; the arrays are slices already."""
        return dataclasses.replace(
            self,
            view=self.view.without_atom(0),
            stack=self.stack[1:],
            slices=(*self.slices, (loop, self.stack[0])),
        )


Kernel = DenseKernel | FactoredKernel


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=("parts",), meta_fields=("axis", "sizes")
)
@dataclasses.dataclass(frozen=True)
class JoinedKernels:
    """Several kernels side by side, as the gates of a recurrent cell have them.

    Attributes:
      parts: the kernels.
      axis: the axis of the value along which they are joined.
      sizes: their sizes along it.
    """

    parts: tuple[Kernel, ...]
    axis: int
    sizes: tuple[int, ...]

    @property
    def dtype(self) -> Any:
        """The type of the value."""
        return self.parts[0].dtype

    def materialize(self) -> Array:
        """Returns the dense value."""
        return jnp.concatenate([part.materialize() for part in self.parts], self.axis)

    def cast(self, dtype: Any) -> JoinedKernels:
        """Returns the kernels in another type."""
        return dataclasses.replace(self, parts=tuple(part.cast(dtype) for part in self.parts))

    def mapped(self, function: Callable[[Any], Any]) -> JoinedKernels:
        """Returns the kernels with a function applied that leaves their numbers."""
        parts = tuple(part.mapped(function) for part in self.parts)
        return dataclasses.replace(self, parts=parts)


def is_kernel(value: Any) -> bool:
    """Says whether a value of a traced program is a kernel that is followed."""
    return isinstance(value, DenseKernel | FactoredKernel | JoinedKernels)


def materialized(value: Any) -> Any:
    """Returns the array that a value stands for."""
    return value.materialize() if is_kernel(value) else value


def atoms_are_whole(atoms: Sequence[Atom], shape: Sequence[int]) -> bool:
    """Says whether no axis of the kernel is there with a part only."""
    sizes: dict[int, int] = {}
    for atom in atoms:
        sizes[atom.axis] = sizes.get(atom.axis, 1) * atom.size
    return all(size == shape[axis] for axis, size in sizes.items())
