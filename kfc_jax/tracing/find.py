"""Which kernels a model reads by products, found by following them through its program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import JaxprEqn

from kfc_jax.tracing.interpreter import Interpreter, Reader
from kfc_jax.tracing.kernels import DenseKernel, Kernel, KernelAxes, atoms_are_whole
from kfc_jax.tracing.products import Reading
from kfc_jax.tracing.trees import leaves_by_path
from kfc_jax.tracing.views import Atom, View


@dataclasses.dataclass(frozen=True)
class ReadKernel:
    """A kernel that a model reads by products only, and perhaps by looking up its rows.

    Attributes:
      shape: the shape of its array.
      axes: which of its axes are what.
      is_table: whether rows are looked up, as in an embedding.
    """

    shape: tuple[int, ...]
    axes: KernelAxes
    is_table: bool


@dataclasses.dataclass(frozen=True)
class _Use:
    stack: frozenset[int]
    summed: frozenset[int]
    kept: frozenset[int]
    is_lookup: bool


def find_kernels(
    function: Callable[..., Any], params: Any, *arguments: Any
) -> tuple[dict[str, ReadKernel], dict[str, str]]:
    """Returns the kernels that a function reads by products, and why others are none.

    Nothing is computed: the function is traced, and kernels are followed from the parameters to
    all places where they are read, also in loops, branches and what JAX computes again.

    Args:
      function: the function of ``(params, *arguments)``.
      params: the parameters, any tree of arrays or of what describes them.
      *arguments: the function's other arguments, likewise.

    Returns:
      The kernels by the paths of their arrays; and for every other array of two axes or more a
      reason, likewise.
    """
    program = jax.make_jaxpr(function)(params, *arguments)
    leaves = leaves_by_path(params)
    others = jax.tree.leaves(arguments)
    reader = _Finder({path: tuple(leaf.shape) for path, leaf in leaves.items()})

    def run(values: Sequence[Any], others: Sequence[Any]) -> None:
        followed = [
            DenseKernel(value, path, View.of_shape(value.shape)) if _may_be(value) else value
            for path, value in zip(leaves, values, strict=True)
        ]
        Interpreter(reader).run(program, [*followed, *others])

    described = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves.values()]
    jax.eval_shape(run, described, others)
    return reader.result([path for path, leaf in leaves.items() if len(leaf.shape) > 1], leaves)


def _may_be(array: Any) -> bool:
    return len(array.shape) > 1 and jnp.issubdtype(array.dtype, jnp.floating)


class _Finder(Reader):
    """Takes down how every kernel is read."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = shapes
        self._uses: dict[str, list[_Use]] = {}
        self._reasons: dict[str, str] = {}

    def product(
        self, run: Interpreter, kernel: Kernel, x: Any, reading: Reading, equation: JaxprEqn
    ) -> None:
        """Takes down a product."""
        del run, x, equation
        self._take_down(kernel, reading.stacked, reading.summed, reading.kept, is_lookup=False)

    def lookup(self, run: Interpreter, kernel: Kernel, indices: Any, equation: JaxprEqn) -> None:
        """Takes down that rows are looked up."""
        del run, indices, equation
        first, *rest = range(len(kernel.view.axes))
        of = kernel.view.of_axes
        self._take_down(kernel, (), of([first]), of(rest), is_lookup=True)

    def other(self, kernel: Kernel, operation: str) -> None:
        """Takes down that something else reads a kernel."""
        self._reasons.setdefault(kernel.path, f"the model passes it to '{operation}'")

    def _take_down(
        self,
        kernel: Kernel,
        stacked: Sequence[Atom],
        summed: Sequence[Atom],
        kept: Sequence[Atom],
        *,
        is_lookup: bool,
    ) -> None:
        assert isinstance(kernel, DenseKernel)
        shape = self._shapes[kernel.path]
        if not all(atoms_are_whole(atoms, shape) for atoms in (stacked, summed, kept)):
            self._reasons.setdefault(kernel.path, "the model reads a part of an axis at a time")
            return
        stack = {axis for _, axis in kernel.slices} | {atom.axis for atom in stacked}
        sides = [frozenset(atom.axis for atom in atoms) - stack for atoms in (summed, kept)]
        use = _Use(frozenset(stack), sides[0], sides[1], is_lookup)
        uses = self._uses.setdefault(kernel.path, [])
        if use not in uses:
            uses.append(use)

    def result(
        self, paths: Sequence[str], leaves: Mapping[str, Any]
    ) -> tuple[dict[str, ReadKernel], dict[str, str]]:
        """Returns the kernels that are read by products alone, and reasons for the others."""
        found, reasons = {}, {}
        for path in paths:
            uses = self._uses.get(path, [])
            if not jnp.issubdtype(leaves[path].dtype, jnp.floating):
                reasons[path] = f"its numbers are of type {leaves[path].dtype}"
            elif path in self._reasons:
                reasons[path] = self._reasons[path]
            elif not uses:
                reasons[path] = "the model does not read it"
            elif (axes := _axes_of(uses, len(self._shapes[path]))) is None:
                reasons[path] = "the model reads it in several layouts"
            else:
                is_table = any(use.is_lookup for use in uses)
                found[path] = ReadKernel(self._shapes[path], axes, is_table)
        return found, reasons


def _axes_of(uses: Sequence[_Use], count: int) -> KernelAxes | None:
    """Returns what the axes are if all uses agree, products with the transposed kernel included."""
    first = next((use for use in uses if use.is_lookup), uses[0])
    sides = {first.summed, first.kept}
    if any(use.stack != first.stack or {use.summed, use.kept} != sides for use in uses):
        return None
    if any(use.is_lookup and use.summed != first.summed for use in uses):
        return None
    stack, rows = tuple(sorted(first.stack)), tuple(sorted(first.summed))
    columns = tuple(axis for axis in range(count) if axis not in (*stack, *rows))
    return KernelAxes(stack, rows, columns)
