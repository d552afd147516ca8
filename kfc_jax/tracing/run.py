"""Running a function of dense parameters on factors: it is traced, and its products replaced."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn
from jax.lax import GatherScatterMode

from kfc_jax.product import kernel_matmul, kronecker_rows
from kfc_jax.structures import KroneckerStructure, LayerStructure, LowRankStructure
from kfc_jax.tracing.find import ReadKernel
from kfc_jax.tracing.interpreter import Interpreter, Reader, result_of
from kfc_jax.tracing.kernels import FactoredKernel, Kernel, materialized
from kfc_jax.tracing.products import Reading, over_stack
from kfc_jax.tracing.trees import leaves_by_path
from kfc_jax.tracing.views import View


@dataclasses.dataclass(frozen=True)
class FactoredLeaf:
    """The factors in the place of a kernel.

    Attributes:
      structure: how one matrix is stored.
      arrays: its arrays by their names, behind the axes of the stack.
      kernel: the dense kernel that they stand for.
    """

    structure: LayerStructure
    arrays: Mapping[str, Any]
    kernel: ReadKernel

    @property
    def dtype(self) -> Any:
        """The type of the dense kernel."""
        return jnp.result_type(*self.arrays.values())


def run_on_factors(
    function: Callable[[Any], Any], params: Any, factors: Mapping[str, FactoredLeaf]
) -> Any:
    """Returns ``function(params)`` for kernels that are stored as factors.

    No kernel is formed where the function multiplies by it or looks up its rows; where it does
    anything else with a kernel, the kernel is formed.

    Args:
      function: a function of dense parameters. What it returns must be a tree of arrays.
      params: the parameters; in place of the kernels in `factors` any leaf.
      factors: the factors by the paths of the kernels.
    """
    leaves = leaves_by_path(params)
    described = [
        jax.ShapeDtypeStruct(factors[path].kernel.shape, factors[path].dtype)
        if path in factors
        else leaf
        for path, leaf in leaves.items()
    ]
    tree = jax.tree.structure(params)
    traced = jax.make_jaxpr(function, return_shape=True)
    program, shape = traced(jax.tree.unflatten(tree, described))
    values = [
        factored(path, factors[path]) if path in factors else leaf for path, leaf in leaves.items()
    ]
    outputs = Interpreter(Replace()).run(program, values)
    return jax.tree.unflatten(jax.tree.structure(shape), map(materialized, outputs))


def factored(path: str, leaf: FactoredLeaf) -> FactoredKernel:
    """Returns the factors as a program's argument."""
    axes, view = leaf.kernel.axes, View.of_shape(leaf.kernel.shape)
    arrays = {name: jnp.asarray(array) for name, array in leaf.arrays.items()}
    return FactoredKernel(arrays, path, view, leaf.structure, axes, axes.stack, leaf.dtype)


class Replace(Reader):
    """Multiplies by factors where the program multiplies by their kernel."""

    def product(
        self, run: Interpreter, kernel: Kernel, x: Any, reading: Reading, equation: JaxprEqn
    ) -> Any:
        """Returns the product; None where a stack is not read one matrix at a time."""
        del run
        if not isinstance(kernel, FactoredKernel):
            return None
        stack = [atom.axis for atom in reading.stacked]
        summed = {atom.axis for atom in reading.summed if atom.size > 1}
        if sorted(stack) != sorted(kernel.stack) or equation.params.get("out_sharding") is not None:
            return None
        rows, columns = (
            {axis for axis in axes if any(a.axis == axis and a.size > 1 for a in kernel.view.atoms)}
            for axes in (kernel.axes.rows, kernel.axes.columns)
        )
        if summed not in (rows, columns):
            return None
        dtype = jnp.promote_types(kernel.dtype, result_of(equation).dtype)
        kernel = kernel.with_stack_in_order(stack)
        arrays = {name: array.astype(dtype) for name, array in kernel.arrays.items()}
        multiply = functools.partial(
            kernel_matmul if summed == rows else _multiply_by_transposed,
            kernel.structure,
            precision=equation.params["precision"],
        )
        inputs = reading.inputs_of(x).astype(dtype)
        return reading.outputs_of(over_stack(multiply, len(stack))(inputs, arrays))

    def lookup(self, run: Interpreter, kernel: Kernel, indices: Any, equation: JaxprEqn) -> Any:
        """Returns rows of a table; None where they are not sums of products of factors' rows."""
        del run
        if not isinstance(kernel, FactoredKernel):
            return None
        first, *rest = range(len(kernel.view.axes))
        atoms, structure = kernel.view.axes[first], kernel.structure
        fill = equation.params["fill_value"]
        is_row_by_row = (
            isinstance(structure, KroneckerStructure | LowRankStructure)
            and not kernel.stack
            and {atom.axis for atom in atoms} == set(kernel.axes.rows)
            and (fill is None or np.isnan(fill))
        )
        if not is_row_by_row:
            return None
        if equation.params["mode"] == GatherScatterMode.FILL_OR_DROP:
            # Those below 0 are out of range here, as the program counts from the end itself.
            indices = jnp.where(indices < 0, structure.inputs, indices)
        else:
            indices = jnp.clip(indices, 0, structure.inputs - 1)
        padded = structure if isinstance(structure, KroneckerStructure) else None
        arrays = {name: array.astype(kernel.dtype) for name, array in kernel.arrays.items()}
        y = kronecker_rows(indices, structure.factors_of(arrays), structure=padded)
        kept = kernel.view.of_axes(rest)
        ordered = sorted(kept)
        y = y.reshape(*indices.shape, *(atom.size for atom in ordered))
        places = [indices.ndim + ordered.index(atom) for atom in kept]
        y = y.transpose(*range(indices.ndim), *places)
        return y.reshape(*indices.shape, *kernel.view.shape[1:])


def _multiply_by_transposed(
    structure: LayerStructure, x: Any, arrays: Mapping[str, Any], *, precision: Any
) -> Any:
    """Returns ``x @ kernel.T``."""
    inputs = jax.ShapeDtypeStruct((*x.shape[:-1], structure.inputs), x.dtype)

    def forwards(inputs: Any) -> Any:
        return kernel_matmul(structure, inputs, arrays, precision=precision)

    return jax.linear_transpose(forwards, inputs)(x)[0]
