"""Loops, branches and calls in a traced program: kernels are followed into them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
from jax import lax
from jax.extend.core import JaxprEqn

from kfc_jax.tracing.kernels import JoinedKernels, is_kernel, materialized
from kfc_jax.tracing.records import Record, Records, empty_like

if TYPE_CHECKING:
    from kfc_jax.tracing.interpreter import Interpreter


def _recorded(
    run: Interpreter, function: Callable[..., Any]
) -> Callable[..., tuple[Any, dict[str, Record]]]:
    """Returns a function that returns beside its result what is recorded in it."""

    def wrapped(*arguments: Any) -> tuple[Any, dict[str, Record]]:
        outside, run.records = run.records, Records()
        try:
            result = function(*arguments)
            return result, dict(run.records)
        finally:
            run.records = outside

    return wrapped


def _arrays(run: Interpreter, values: Sequence[Any], operation: str) -> list[Any]:
    """Returns the arrays of values; the reader is told of the kernels among them."""
    run.tell_of_others(values, operation)
    return [materialized(value) for value in values]


def _results(run: Interpreter, values: Sequence[Any]) -> list[Any]:
    return _arrays(run, values, "the end of a loop or branch")


def _call(run: Interpreter, equation: JaxprEqn, values: list[Any]) -> Sequence[Any]:
    program = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    if hasattr(program, "consts"):
        return run.run(program, values)
    return run.run_open(program, (), values)


def _remat(run: Interpreter, equation: JaxprEqn, values: list[Any]) -> Sequence[Any]:
    program = equation.params["jaxpr"]

    def body(values: list[Any]) -> list[Any]:
        return _results(run, run.run_open(program, (), values))

    if equation.params["differentiated"]:
        return body(values)
    again = jax.checkpoint(
        _recorded(run, body),
        prevent_cse=equation.params["prevent_cse"],
        policy=equation.params["policy"],
    )
    outputs, records = again(values)
    run.records.update_with(records)
    return outputs


def scan_sizes(parameters: Mapping[str, Any]) -> tuple[int, int]:
    """Returns how many constants a scan has, and how many values it carries on."""
    if "num_consts" in parameters:
        return parameters["num_consts"], parameters["num_carry"]
    constants, carried, _ = parameters["ft_in"].unpack()  # since JAX 0.12
    return len(constants), len(carried)


def _scan(run: Interpreter, equation: JaxprEqn, values: list[Any]) -> Sequence[Any]:
    parameters, loop = equation.params, run.new_loop()
    program, (num_constants, num_carried) = parameters["jaxpr"], scan_sizes(parameters)
    constants = values[:num_constants]
    start = _arrays(run, values[num_constants:][:num_carried], "a loop that carries it on")
    sliced = [_as_stack(run, value) for value in values[num_constants + num_carried :]]

    def step(carried: list[Any], slices: list[Any]) -> tuple[list[Any], list[Any]]:
        slices = [value.sliced(loop) if is_kernel(value) else value for value in slices]
        outputs = _results(run, run.run(program, [*constants, *carried, *slices]))
        return outputs[:num_carried], outputs[num_carried:]

    recorded = _recorded(run, step)
    first = jax.eval_shape(
        recorded, start, jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), sliced)
    )
    is_shared = {path: not record.is_sliced_by(loop) for path, record in first[1].items()}
    sums = empty_like({path: r for path, r in first[1].items() if is_shared[path]})

    def body(state: tuple[Any, Any], slices: list[Any]) -> tuple[Any, Any]:
        carried, sums = state
        (carried, outputs), records = recorded(carried, slices)
        added = {path: sums[path] + r for path, r in records.items() if is_shared[path]}
        return (carried, added), (outputs, {p: r for p, r in records.items() if not is_shared[p]})

    (carried, sums), (outputs, stacked) = lax.scan(
        body,
        (start, sums),
        sliced,
        length=parameters["length"],
        reverse=parameters["reverse"],
        unroll=parameters["unroll"],
    )
    run.records.update_with(sums)
    run.records.update_with({path: record.after(loop) for path, record in stacked.items()})
    return [*carried, *outputs]


def _as_stack(run: Interpreter, value: Any) -> Any:
    """Returns what a loop is to slice."""
    if not is_kernel(value):
        return value
    stacked = None if isinstance(value, JoinedKernels) else value.stacked()
    return _arrays(run, [value], "a loop over a part of it")[0] if stacked is None else stacked


def _while(run: Interpreter, equation: JaxprEqn, values: list[Any]) -> Sequence[Any]:
    parameters = equation.params
    ends = [parameters["cond_nconsts"], parameters["cond_nconsts"] + parameters["body_nconsts"]]
    of_test, of_body = values[: ends[0]], values[ends[0] : ends[1]]
    start = _arrays(run, values[ends[1] :], "a loop that carries it on")

    def body(carried: list[Any]) -> list[Any]:
        return _results(run, run.run(parameters["body_jaxpr"], [*of_body, *carried]))

    def test(carried: list[Any]) -> Any:
        return materialized(run.run(parameters["cond_jaxpr"], [*of_test, *carried])[0])

    recorded = _recorded(run, body)
    sums = empty_like(jax.eval_shape(recorded, start)[1])

    def step(state: tuple[Any, Any]) -> tuple[Any, Any]:
        carried, records = recorded(state[0])
        return carried, {path: state[1][path] + record for path, record in records.items()}

    # What the test reads is not recorded: it would have to be carried out of it.
    quiet = _recorded(run, lambda state: test(state[0]))
    outputs, sums = lax.while_loop(lambda state: quiet(state)[0], step, (start, sums))
    run.records.update_with(sums)
    return outputs


def _branch(run: Interpreter, equation: JaxprEqn, values: list[Any]) -> Sequence[Any]:
    index, *operands = values

    def branch(program: Any) -> Callable[..., Any]:
        return _recorded(run, lambda values: _results(run, run.run(program, values)))

    branches = [branch(program) for program in equation.params["branches"]]
    records: dict[str, Any] = {}
    for each in branches:
        records = jax.eval_shape(each, operands)[1] | records
    nothing = empty_like(records)

    def padded(each: Callable[..., Any]) -> Callable[..., Any]:
        def function(values: list[Any]) -> tuple[Any, Any]:
            outputs, found = each(values)
            return outputs, nothing | found

        return function

    outputs, found = lax.switch(materialized(index), [padded(each) for each in branches], operands)
    run.records.update_with(found)
    return outputs


CONTROL_FLOW: dict[str, Callable[[Any, JaxprEqn, list[Any]], Sequence[Any]]] = {
    "jit": _call,
    "pjit": _call,
    "closed_call": _call,
    "core_call": _call,
    "checkpoint": _remat,
    "remat2": _remat,
    "scan": _scan,
    "while": _while,
    "cond": _branch,
}
"""What follows kernels into an operation, by its name."""
