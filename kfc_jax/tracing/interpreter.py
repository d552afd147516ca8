"""Running a traced program while following kernels to the places where they are read.

The program is the jaxpr of a function of a model's parameters. Operations that only move, cast or
join the numbers of a kernel are followed. Where a kernel meets anything else, a `Reader` says what
is done: it counts, records, or multiplies by factors in place of the dense kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from kfc_jax.tracing.control_flow import CONTROL_FLOW
from kfc_jax.tracing.kernels import JoinedKernels, Kernel, is_kernel, materialized
from kfc_jax.tracing.products import Reading
from kfc_jax.tracing.records import Records
from kfc_jax.tracing.views import View


class Reader:
    """What is done where a kernel is read; by default, what the program does."""

    def product(
        self, run: Interpreter, kernel: Kernel, x: Any, reading: Reading, equation: JaxprEqn
    ) -> Any:
        """Returns the product of an array with a kernel; None: the dense one is taken."""
        del run, kernel, x, reading, equation

    def lookup(self, run: Interpreter, kernel: Kernel, indices: Any, equation: JaxprEqn) -> Any:
        """Returns slices of a kernel along its first axis; None: those of the dense one."""
        del run, kernel, indices, equation

    def other(self, kernel: Kernel, operation: str) -> None:
        """Is told that a kernel is read by an operation that is none of these."""

    def mark(self, run: Interpreter, name: str, value: Any) -> None:
        """Is told of a value that the program has given a name to."""


class Interpreter:
    """Runs a traced program with some kernels that are followed.

    Attributes:
      reader: what is done where a kernel is read.
      records: what the reader has recorded so far, on this level of loops.
    """

    def __init__(self, reader: Reader, *, enters_all: bool = False) -> None:
        """Starts with nothing recorded.

        Args:
          reader: what is done where a kernel is read.
          enters_all: whether loops are followed in which there is no kernel.
        """
        self.reader, self.records = reader, Records()
        self._enters_all, self._loops = enters_all, 0

    def new_loop(self) -> int:
        """Returns a number that no other loop of this run has."""
        self._loops += 1
        return self._loops

    def run(self, program: ClosedJaxpr, arguments: Sequence[Any]) -> list[Any]:
        """Runs a program; kernels may be among the arguments, and among what is returned."""
        return self.run_open(program.jaxpr, program.consts, arguments)

    def run_open(
        self, jaxpr: Jaxpr, constants: Sequence[Any], arguments: Sequence[Any]
    ) -> list[Any]:
        """Runs a program whose constants are given."""
        known = dict(zip(jaxpr.constvars, constants, strict=True))
        known |= zip(jaxpr.invars, arguments, strict=True)

        def value_of(atom: Any) -> Any:
            return atom.val if isinstance(atom, Literal) else known[atom]

        for equation in jaxpr.eqns:
            outputs = self._run_equation(equation, [value_of(atom) for atom in equation.invars])
            known |= zip(equation.outvars, outputs, strict=True)
        return [value_of(atom) for atom in jaxpr.outvars]

    def _run_equation(self, equation: JaxprEqn, values: list[Any]) -> Sequence[Any]:
        name = equation.primitive.name
        follows = any(map(is_kernel, values))
        if (follows or self._enters_all) and name in CONTROL_FLOW:
            return CONTROL_FLOW[name](self, equation, values)
        if self._enters_all and name == "name":
            self.reader.mark(self, equation.params["name"], values[0])
        if follows:
            outputs = _FOLLOWED[name](self, equation, values) if name in _FOLLOWED else None
            if outputs is not None:
                return outputs
            self.tell_of_others(values, name)
        return _dense(equation, values)

    def tell_of_others(self, values: Sequence[Any], operation: str) -> None:
        """Tells the reader that an operation reads all kernels among some values."""
        for value in values:
            parts = value.parts if isinstance(value, JoinedKernels) else (value,)
            for part in filter(is_kernel, parts):
                self.reader.other(part, operation)


def as_it_is(equation: JaxprEqn, values: Sequence[Any]) -> Sequence[Any]:
    """Returns what an equation gives for arrays."""
    parameters = equation.primitive.get_bind_params(equation.params)
    with equation.ctx.manager:
        outputs = equation.primitive.bind(*values, **parameters)
    return outputs if equation.primitive.multiple_results else [outputs]


def result_of(equation: JaxprEqn) -> Any:
    """Returns the shape and type of the first output of an equation."""
    return equation.outvars[0].aval


def _dense(equation: JaxprEqn, values: Sequence[Any]) -> Sequence[Any]:
    """Returns what an equation gives for the arrays that the values stand for."""
    return as_it_is(equation, [materialized(value) for value in values])


_Rule = Callable[[Interpreter, JaxprEqn, list[Any]], Sequence[Any] | None]


def _moves(view_after: Callable[[View, dict[str, Any]], View | None]) -> _Rule:
    """Returns the rule of an operation that moves the numbers of its only operand."""

    def rule(run: Interpreter, equation: JaxprEqn, values: list[Any]) -> Sequence[Any] | None:
        del run
        (kernel,) = values
        if isinstance(kernel, JoinedKernels):
            return None
        view = view_after(kernel.view, equation.params)
        if view is None:
            return None
        return [kernel.rearranged(view, lambda value: as_it_is(equation, [value])[0])]

    return rule


def _broadcast(view: View, parameters: dict[str, Any]) -> View | None:
    """Returns the view with further axes of size 1."""
    shape, axes = parameters["shape"], parameters["broadcast_dimensions"]
    there = dict(zip(axes, view.axes, strict=True))
    if any(size != 1 for axis, size in enumerate(shape) if axis not in there):
        return None
    new = View(tuple(there.get(axis, ()) for axis in range(len(shape))))
    return new if new.shape == tuple(shape) else None


def _squeeze(view: View, parameters: dict[str, Any]) -> View:
    kept = [axis for axis in range(len(view.axes)) if axis not in parameters["dimensions"]]
    return view.transposed(kept)


def _reshape(view: View, parameters: dict[str, Any]) -> View | None:
    return None if parameters["dimensions"] else view.reshaped(parameters["new_sizes"])


def _cast(run: Interpreter, equation: JaxprEqn, values: list[Any]) -> Sequence[Any] | None:
    del run
    dtype = equation.params["new_dtype"]
    return [values[0].cast(dtype)] if jnp.issubdtype(dtype, jnp.inexact) else None


def _keep(run: Interpreter, equation: JaxprEqn, values: list[Any]) -> Sequence[Any]:
    del run, equation
    return values


def _stop_gradient(run: Interpreter, equation: JaxprEqn, values: list[Any]) -> Sequence[Any]:
    del run, equation
    return [values[0].mapped(lax.stop_gradient)]


def _join(run: Interpreter, equation: JaxprEqn, values: list[Any]) -> Sequence[Any] | None:
    del run
    axis = equation.params["dimension"]
    if not all(is_kernel(value) and not isinstance(value, JoinedKernels) for value in values):
        return None
    return [JoinedKernels(tuple(values), axis, tuple(v.view.shape[axis] for v in values))]


def _multiply(run: Interpreter, equation: JaxprEqn, values: list[Any]) -> Sequence[Any] | None:
    if all(map(is_kernel, values)):
        return None
    is_left = is_kernel(values[0])
    kernel, x = values if is_left else reversed(values)
    numbers = equation.params["dimension_numbers"]
    result = result_of(equation)
    if not isinstance(kernel, JoinedKernels):
        reading = Reading.of(kernel.view, numbers, is_left=is_left)
        y = run.reader.product(run, kernel, x, reading, equation)
        return _dense(equation, values) if y is None else [y.astype(result.dtype)]
    of_parts = []
    for part in kernel.parts:
        reading = Reading.of(part.view, numbers, is_left=is_left)
        if kernel.axis in (*reading.kernel_contract, *reading.kernel_batch):
            return None
        y = run.reader.product(run, part, x, reading, equation)
        if y is None:
            (y,) = _dense(equation, [part, x] if is_left else [x, part])
        of_parts.append(y.astype(result.dtype))
    used = (*reading.kernel_contract, *reading.kernel_batch)
    free = [axis for axis in range(len(kernel.parts[0].view.axes)) if axis not in used]
    first = len(reading.batch) if is_left else len(result.shape) - len(free)
    return [jnp.concatenate(of_parts, first + free.index(kernel.axis))]


def _look_up(run: Interpreter, equation: JaxprEqn, values: list[Any]) -> Sequence[Any] | None:
    table, indices = values
    if not is_kernel(table) or isinstance(table, JoinedKernels) or is_kernel(indices):
        return None
    shape, numbers = table.view.shape, equation.params["dimension_numbers"]
    last = tuple(range(indices.ndim - 1, indices.ndim - 2 + len(shape)))
    takes_slices = (
        numbers.start_index_map == numbers.collapsed_slice_dims == (0,)
        and not numbers.operand_batching_dims
        and numbers.offset_dims == last
        and tuple(equation.params["slice_sizes"]) == (1, *shape[1:])
    )
    if not takes_slices:
        return None
    y = run.reader.lookup(run, table, indices[..., 0], equation)
    return _dense(equation, values) if y is None else [y.astype(result_of(equation).dtype)]


_FOLLOWED: dict[str, _Rule] = {
    "transpose": _moves(lambda view, parameters: view.transposed(parameters["permutation"])),
    "reshape": _moves(_reshape),
    "squeeze": _moves(_squeeze),
    "broadcast_in_dim": _moves(_broadcast),
    "convert_element_type": _cast,
    "copy": _keep,
    "copy_p": _keep,
    "name": _keep,
    "optimization_barrier": _keep,
    "sharding_constraint": _keep,
    "stop_gradient": _stop_gradient,
    "concatenate": _join,
    "dot_general": _multiply,
    "gather": _look_up,
}

__all__ = ["Interpreter", "Reader", "as_it_is"]
