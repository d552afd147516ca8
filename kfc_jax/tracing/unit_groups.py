"""Which axes of a model's arrays count the same units, so that they may be permuted together.

Every axis of every value in the program gets a label. Operations that treat all indices of an axis
alike join labels: entry by entry operations those of their operands, products those that they sum
over. Labels of what the model takes and returns, and of all that an operation does not treat alike,
are fixed. What is left are groups of axes with the property that the same permutation of all axes
of a group leaves the function as it is: the columns of a kernel, its bias, the scales of a
normalisation, the rows of whatever reads them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import Jaxpr, JaxprEqn, Literal

from kfc_jax.tracing.control_flow import scan_sizes
from kfc_jax.tracing.trees import leaves_by_path


@dataclasses.dataclass(frozen=True)
class UnitGroup:
    """Axes that count the same units.

    Attributes:
      size: the number of units.
      axes: the paths of the arrays, each with the axis.
    """

    size: int
    axes: frozenset[tuple[str, int]]


def find_unit_groups(function: Callable[..., Any], params: Any, *arguments: Any) -> list[UnitGroup]:
    """Returns the groups of axes of ``params`` that may be permuted, each group on its own.

    Args:
      function: the function of ``(params, *arguments)``.
      params: any tree of arrays or of what describes them; all of them may be permuted.
      *arguments: the function's other arguments, whose axes stay.
    """
    program = jax.make_jaxpr(function)(params, *arguments)
    labels = [
        tuple(_Label(path, axis, size) for axis, size in enumerate(leaf.shape))
        for path, leaf in leaves_by_path(params).items()
    ]
    fixed = [_fixed(leaf.shape) for leaf in jax.tree.leaves(arguments)]
    constants = [_fixed(getattr(constant, "shape", ())) for constant in program.consts]
    for axes in _follow(program.jaxpr, constants, [*labels, *fixed]):
        _fix(axes)
    groups: dict[int, tuple[_Label, set[tuple[str, int]]]] = {}
    for label in (label for axes in labels for label in axes):
        root = label.root
        groups.setdefault(id(root), (root, set()))[1].add((label.path, label.axis))
    return [
        UnitGroup(root.size, frozenset(axes))
        for root, axes in groups.values()
        if not root.is_fixed and root.size > 1
    ]


class _Label:
    """The label of an axis, which may turn out to be that of another one."""

    def __init__(self, path: str, axis: int, size: int, *, is_fixed: bool = False) -> None:
        self.path, self.axis, self.size, self.is_fixed = path, axis, size, is_fixed
        self._joined: _Label | None = None

    @property
    def root(self) -> _Label:
        """The label that stands for all that were joined."""
        label = self
        while label._joined is not None:
            label = label._joined
        return label

    def join(self, other: _Label) -> None:
        """Says that both count the same units."""
        mine, theirs = self.root, other.root
        if mine is not theirs:
            theirs._joined = mine
            mine.is_fixed |= theirs.is_fixed


_Axes = tuple[_Label | None, ...]
"""The labels of a value's axes; None where all indices are alike, or it does not matter."""


def _fixed(shape: Sequence[int]) -> _Axes:
    return tuple(
        None if size == 1 else _Label("", axis, size, is_fixed=True)
        for axis, size in enumerate(shape)
    )


def _free(shape: Sequence[int]) -> _Axes:
    return tuple(_Label("", axis, size) for axis, size in enumerate(shape))


def _fix(axes: _Axes) -> None:
    for label in axes:
        if label is not None:
            label.root.is_fixed = True


def _join(*axes: _Axes) -> _Axes:
    """Joins the labels of values that are combined entry by entry."""
    longest = max(axes, key=len)
    joined: list[_Label | None] = []
    for labels in zip(*(a for a in axes if len(a) == len(longest)), strict=True):
        first, *others = [label for label in labels if label is not None] or [None]
        for other in others:
            assert first is not None
            assert other is not None
            first.join(other)
        joined.append(first)
    return tuple(joined)


def _follow(jaxpr: Jaxpr, constants: Sequence[_Axes], arguments: Sequence[_Axes]) -> list[_Axes]:
    """Returns the labels of what a program returns."""
    known: dict[Any, _Axes] = dict(zip(jaxpr.constvars, constants, strict=True))
    known |= zip(jaxpr.invars, arguments, strict=True)

    def axes_of(atom: Any) -> _Axes:
        return _fixed(atom.aval.shape) if isinstance(atom, Literal) else known[atom]

    for equation in jaxpr.eqns:
        values = [axes_of(atom) for atom in equation.invars]
        rule = _RULES.get(equation.primitive.name, _unknown)
        known |= zip(equation.outvars, rule(equation, values), strict=True)
    return [axes_of(atom) for atom in jaxpr.outvars]


def _shape(atom: Any) -> tuple[int, ...]:
    return tuple(getattr(atom.aval, "shape", ()))


def _unknown(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
    for axes in values:
        _fix(axes)
    return [_fixed(_shape(atom)) for atom in equation.outvars]


def _entry_by_entry(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
    del equation
    return [_join(*values)]


def _each(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
    del equation
    return values


def _random(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
    """Random numbers are alike along every axis."""
    del values
    return [(None,) * len(_shape(atom)) for atom in equation.outvars]


def _iota(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
    del values
    shape, along = _shape(equation.outvars[0]), equation.params["dimension"]
    fixed = _fixed(shape)
    return [tuple(label if axis == along else None for axis, label in enumerate(fixed))]


def _transpose(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
    return [tuple(values[0][axis] for axis in equation.params["permutation"])]


def _broadcast(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
    new: list[_Label | None] = [None] * len(equation.params["shape"])
    given = zip(
        equation.params["broadcast_dimensions"],
        values[0],
        _shape(equation.invars[0]),
        strict=True,
    )
    for axis, label, size in given:
        new[axis] = label if size == equation.params["shape"][axis] else None
    return [tuple(new)]


def _squeeze(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
    dropped = equation.params["dimensions"]
    return [tuple(label for axis, label in enumerate(values[0]) if axis not in dropped)]


def _reduce(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
    dropped = equation.params["axes"]
    return [tuple(label for axis, label in enumerate(values[0]) if axis not in dropped)]


def _reshape(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
    """Keeps the labels of axes that are kept; those that are merged or split are fixed."""
    before, after = _shape(equation.invars[0]), _shape(equation.outvars[0])
    if equation.params.get("dimensions"):
        return _unknown(equation, values)
    old = [axis for axis, size in enumerate(before) if size != 1]
    new = [axis for axis, size in enumerate(after) if size != 1]
    ends = {math.prod(before[a] for a in old[:i]): i for i in range(len(old) + 1)}
    result: list[_Label | None] = [None] * len(after)
    start_old = start_new = 0
    for stop_new in range(1, len(new) + 1):
        stop_old = ends.get(math.prod(after[axis] for axis in new[:stop_new]))
        if stop_old is None:
            continue
        if stop_old - start_old == stop_new - start_new == 1:
            result[new[start_new]] = values[0][old[start_old]]
        else:
            _fix(tuple(values[0][axis] for axis in old[start_old:stop_old]))
            for axis in new[start_new:stop_new]:
                result[axis] = _Label("", axis, after[axis], is_fixed=True)
        start_old, start_new = stop_old, stop_new
    return [tuple(result)]


def _product(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
    (contract, batch) = equation.params["dimension_numbers"]
    left, right = values
    for pairs in (contract, batch):
        for i, j in zip(*pairs, strict=True):
            _join((left[i],), (right[j],))
    kept = [
        [label for axis, label in enumerate(axes) if axis not in (*contract[side], *batch[side])]
        for side, axes in enumerate(values)
    ]
    both = [_join((left[i],), (right[j],))[0] for i, j in zip(*batch, strict=True)]
    return [(*both, *kept[0], *kept[1])]


def _convolution(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
    """Channels keep their labels; positions and taps are fixed."""
    parameters = equation.params
    if parameters["feature_group_count"] != 1 or parameters["batch_group_count"] != 1:
        return _unknown(equation, values)
    of_x, of_kernel, of_y = parameters["dimension_numbers"]
    x, kernel = values
    _join((x[of_x[1]],), (kernel[of_kernel[1]],))
    _fix(tuple(x[axis] for axis in of_x[2:]))
    _fix(tuple(kernel[axis] for axis in of_kernel[2:]))
    y = list(_fixed(_shape(equation.outvars[0])))
    y[of_y[0]], y[of_y[1]] = x[of_x[0]], kernel[of_kernel[0]]
    return [tuple(y)]


def _along(equation: JaxprEqn, values: list[_Axes], changed: Sequence[int]) -> list[_Axes]:
    """Fixes some axes of the first operand, and keeps the labels of the others."""
    _fix(tuple(values[0][axis] for axis in changed))
    results = []
    for atom in equation.outvars:
        fixed = _fixed(_shape(atom))
        results.append(tuple(f if i in changed else values[0][i] for i, f in enumerate(fixed)))
    return results


def _window(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
    sizes = equation.params["window_dimensions"]
    same = _shape(equation.invars[0]), _shape(equation.outvars[0])
    changed = [i for i, n in enumerate(sizes) if n != 1 or same[0][i] != same[1][i]]
    return _along(equation, values, changed)


def _part(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
    before, after = _shape(equation.invars[0]), _shape(equation.outvars[0])
    return _along(equation, values, [i for i, n in enumerate(before) if n != after[i]])


def _along_one(name: str) -> Callable[[JaxprEqn, list[_Axes]], list[_Axes]]:
    def rule(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
        along = equation.params[name]
        return _along(equation, values, along if isinstance(along, tuple | list) else [along])

    return rule


def _concatenate(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
    along = equation.params["dimension"]
    for axes in values:
        _fix((axes[along],))
    joined = list(_join(*((*axes[:along], None, *axes[along + 1 :]) for axes in values)))
    joined[along] = _Label("", along, _shape(equation.outvars[0])[along], is_fixed=True)
    return [tuple(joined)]


def _lookup(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
    """Keeps the labels of whole axes of the table, and fixes those that indices name."""
    table, indices = values
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    shape = _shape(equation.invars[0])
    kept = [axis for axis in range(len(shape)) if axis not in numbers.collapsed_slice_dims]
    if numbers.operand_batching_dims or len(numbers.offset_dims) != len(kept):
        return _unknown(equation, values)
    _fix(indices)
    whole = [axis for axis in kept if sizes[axis] == shape[axis]]
    _fix(tuple(label for axis, label in enumerate(table) if axis not in whole))
    y = list(_fixed(_shape(equation.outvars[0])))
    for place, axis in zip(numbers.offset_dims, kept, strict=True):
        if axis in whole:
            y[place] = table[axis]
    return [tuple(y)]


def _program(equation: JaxprEqn, *names: str) -> Any:
    return next(equation.params[name] for name in names if name in equation.params)


def _inside(program: Any, values: Sequence[_Axes]) -> list[_Axes]:
    if hasattr(program, "consts"):
        constants = [_fixed(getattr(constant, "shape", ())) for constant in program.consts]
        return _follow(program.jaxpr, constants, values)
    return _follow(program, [], values)


def _call(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
    return _inside(_program(equation, "jaxpr", "call_jaxpr", "fun_jaxpr"), values)


def _loop(program: Any, constants: Sequence[_Axes], start: list[_Axes], slices: Any) -> Any:
    """Follows what a loop carries on: labels are the same before and after."""
    shapes = [_shape(atom) for atom in program.jaxpr.invars[len(constants) :]]
    carried = [_free(shape) for shape in shapes[: len(start)]]
    for mine, theirs in zip(carried, start, strict=True):
        _join(mine, theirs)
    outputs = _inside(program, [*constants, *carried, *slices])
    for mine, theirs in zip(carried, outputs, strict=False):
        _join(mine, theirs)
    return carried, outputs[len(start) :]


def _scan(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
    parameters = equation.params
    count, carry = scan_sizes(parameters)
    stacked = values[count + carry :]
    for axes in stacked:
        _fix(axes[:1])
    carried, outputs = _loop(
        parameters["jaxpr"],
        values[:count],
        values[count : count + carry],
        [axes[1:] for axes in stacked],
    )
    length = parameters["length"]
    return [*carried, *((_Label("", 0, length, is_fixed=True), *axes) for axes in outputs)]


def _while(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
    parameters = equation.params
    test, body = parameters["cond_nconsts"], parameters["body_nconsts"]
    start = values[test + body :]
    carried, _ = _loop(parameters["body_jaxpr"], values[test : test + body], start, [])
    _inside(parameters["cond_jaxpr"], [*values[:test], *carried])
    return carried


def _branch(equation: JaxprEqn, values: list[_Axes]) -> list[_Axes]:
    each = [_inside(program, values[1:]) for program in equation.params["branches"]]
    return [_join(*outputs) for outputs in zip(*each, strict=True)]


_Rule = Callable[[JaxprEqn, list[_Axes]], list[_Axes]]

_ENTRY_BY_ENTRY = (
    *("add", "sub", "mul", "div", "rem", "max", "min", "pow", "integer_pow", "neg", "sign", "abs"),
    *("exp", "exp2", "expm1", "log", "log1p", "sqrt", "rsqrt", "cbrt", "square", "tanh", "sin"),
    *("cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "logistic", "erf", "erfc"),
    *("erf_inv", "lgamma", "digamma", "floor", "ceil", "round", "is_finite", "select_n", "clamp"),
    *("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "xor", "nextafter"),
    *("shift_left", "shift_right_logical", "shift_right_arithmetic", "convert_element_type"),
    *("reduce_precision", "stop_gradient", "copy", "copy_p", "name", "sharding_constraint"),
    *("real", "imag", "conj", "complex", "bitcast_convert_type", "add_any", "mul_no_nan"),
)
_RANDOM = (
    *("random_bits", "random_seed", "random_wrap", "random_unwrap", "random_split"),
    *("random_fold_in", "random_clone", "threefry2x32", "rng_bit_generator"),
)
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(_ENTRY_BY_ENTRY, _entry_by_entry),
    "optimization_barrier": _each,
    **dict.fromkeys(_RANDOM, _random),
    "iota": _iota,
    "transpose": _transpose,
    "broadcast_in_dim": _broadcast,
    "squeeze": _squeeze,
    "reshape": _reshape,
    **dict.fromkeys(
        ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or"),
        _reduce,
    ),
    "dot_general": _product,
    "conv_general_dilated": _convolution,
    **dict.fromkeys(
        ("reduce_window_max", "reduce_window_min", "reduce_window_sum", "reduce_window"), _window
    ),
    **dict.fromkeys(("slice", "dynamic_slice", "pad"), _part),
    **dict.fromkeys(("cumsum", "cummax", "cummin", "cumprod", "cumlogsumexp"), _along_one("axis")),
    "split": _along_one("axis"),
    "rev": _along_one("dimensions"),
    "concatenate": _concatenate,
    "gather": _lookup,
    **dict.fromkeys(
        ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat2", "custom_jvp_call"),
        _call,
    ),
    **dict.fromkeys(("custom_vjp_call", "custom_vjp_call_jaxpr"), _call),
    "scan": _scan,
    "while": _while,
    "cond": _branch,
}
"""How labels pass an operation, by its name; all others fix them."""
