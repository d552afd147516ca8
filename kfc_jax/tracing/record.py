"""What the kernels of a model are multiplied with: sums over the inputs of every product."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import JaxprEqn

from kfc_jax.tracing.find import ReadKernel
from kfc_jax.tracing.interpreter import Interpreter
from kfc_jax.tracing.kernels import DenseKernel, Kernel
from kfc_jax.tracing.products import Reading, over_stack
from kfc_jax.tracing.records import Record, Sums
from kfc_jax.tracing.run import FactoredLeaf, Replace, factored
from kfc_jax.tracing.trees import leaves_by_path
from kfc_jax.tracing.views import View

_MARK = "kfc_jax:"


def marked(path: str, inputs: Any) -> Any:
    """Returns the inputs of a layer, marked so that `record_inputs` records them."""
    return checkpoint_name(inputs, f"{_MARK}{inputs.ndim}:{path}")


def record_inputs(
    function: Callable[..., Any],
    params: Any,
    kernels: Mapping[str, ReadKernel],
    *arguments: Any,
    factors: Mapping[str, FactoredLeaf] | None = None,
) -> dict[str, Sums]:
    """Runs a function of parameters and returns the sums of what kernels are multiplied with.

    May be jitted. In loops, the sums are carried out of them; those of a stack of kernels have the
    axes of the stack first.

    Args:
      function: the function of ``(params, *arguments)``.
      params: the parameters.
      kernels: the kernels to look at, by the paths of their arrays.
      *arguments: the function's other arguments.
      factors: kernels that are stored as factors, by path; in the parameters, they are described.

    Returns:
      The sums by the paths of the kernels, and of the layers whose inputs are `marked`.
    """
    program = jax.make_jaxpr(function)(params, *arguments)
    stored = factors or {}
    values = [
        factored(path, stored[path])
        if path in stored
        else DenseKernel(value, path, View.of_shape(value.shape))
        if path in kernels
        else value
        for path, value in leaves_by_path(params).items()
    ]
    run = Interpreter(_Recorder(kernels), enters_all=True)
    run.run(program, [*values, *jax.tree.leaves(arguments)])
    return {path: _in_order(record) for path, record in run.records.items()}


def _in_order(record: Record) -> Sums:
    """Returns the sums with the axes of the stack in the kernel's order."""
    order = list(np.argsort(record.stack))

    def move(array: Any) -> Any:
        return array.transpose(*order, *range(len(order), array.ndim))

    return jax.tree.map(move, record.sums)


class _Recorder(Replace):
    """Records the inputs of products, and what is marked."""

    def __init__(self, kernels: Mapping[str, ReadKernel]) -> None:
        self._kernels = kernels

    def product(
        self, run: Interpreter, kernel: Kernel, x: Any, reading: Reading, equation: JaxprEqn
    ) -> Any:
        """Records the inputs, and does the product as it is done without."""
        if kernel.path in self._kernels:
            rows = self._kernels[kernel.path].axes.rows
            # Inputs of the transposed kernel are those of another layer.
            if not {a.axis for a in reading.summed if a.size > 1} - set(rows):
                sums = over_stack(Sums.of, len(reading.stacked))(reading.inputs_of(x))
                stack = tuple(atom.axis for atom in reading.stacked)
                run.records.add(kernel.path, Record(sums, stack, kernel.slices))
        return super().product(run, kernel, x, reading, equation)

    def mark(self, run: Interpreter, name: str, value: Any) -> None:
        """Records what is marked; not where a map over layers has given it another axis."""
        if name.startswith(_MARK):
            axes, _, path = name.removeprefix(_MARK).partition(":")
            if value.ndim == int(axes):
                run.records.add(path, Record(Sums.of(value)))
