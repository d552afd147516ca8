"""The programs of a plan, carried out: multiply by a term, and its gradients.

Every program is a preparation of the factors, done once, and a step on some samples with what was
prepared, done for all samples at once or in a loop. The backward pass keeps nothing but the inputs
and the factors: it loops over the step's gradient, which recomputes the intermediates, and sums the
gradients of what was prepared.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Inexact

from kfc_jax.product.dot_general import own_dot_general
from kfc_jax.product.factors import (
    TermFactors,
    contract_in_order,
    form_kernel,
    form_kernel_by_rows,
    merge_factors,
)
from kfc_jax.product.native import form, gradients_of_factors
from kfc_jax.product.native import gradients as native_gradients
from kfc_jax.product.native import multiply as native_multiply
from kfc_jax.product.program import UNROLL, Pair, Program, merged_structure, pair_of
from kfc_jax.product.sharding import varying_axes
from kfc_jax.structures import KroneckerStructure, KroneckerTerm

Prepared = tuple[Array, ...]
Factors = tuple[tuple[Inexact[Array, "_ _ _"], ...], ...]


def multiply(
    program: Program,
    structure: KroneckerStructure,
    precision: lax.PrecisionLike,
    x: Inexact[Array, "batch inputs"],
    factors: Factors,
) -> Inexact[Array, "batch features"]:
    """Returns ``x`` times the kernel of the program's terms.

    Differentiation of the result keeps ``x`` and the factors alone.

    Args:
      program: a program of a plan for ``structure``.
      structure: the structure of the kernel, with all its terms.
      precision: the precision of the products.
      x: the inputs.
      factors: the factors of all terms, also of those that the program does not multiply by.
    """
    if program.strategy == "native":
        a, b = _merged(program, x, factors)
        stand_in = _StandIn(program, structure, precision)
        left_first = program.left_first
        return native_multiply(x, a, b, structure.features, stand_in, left_first=left_first)

    def run(x: Array, factors: Factors) -> Array:
        prepared = _prepare(program, structure, precision, factors)
        step = functools.partial(_step, program, structure, precision, prepared)
        return _map(program, step if forms_kernel else jax.checkpoint(step), x)

    forms_kernel = program.strategy == "materialize"  # then the kernel is not kept either
    return (jax.checkpoint(run) if forms_kernel else run)(x, factors)


def gradients(
    program: Program,
    structure: KroneckerStructure,
    precision: lax.PrecisionLike,
    x: Inexact[Array, "batch inputs"],
    factors: Factors,
    g: Inexact[Array, "batch features"],
) -> tuple[Inexact[Array, "batch inputs"], Factors]:
    """Returns the gradients of ``sum(g * multiply(...))`` by ``x`` and by the factors."""
    if program.strategy == "native":
        (a, b), transpose_merge = jax.vjp(functools.partial(_merged, program, x), factors)
        stand_in = _StandInGradients(program, structure, precision)
        of_x, *of_pair = native_gradients(x, a, b, g, stand_in, left_first=program.left_first)
        return of_x, transpose_merge(tuple(of_pair))[0]
    prepare = functools.partial(_prepare, program, structure, precision)
    if program.forming == "natively":
        prepared = prepare(factors)
        transpose_prepare = functools.partial(_gradients_of_formed, program, structure, factors)
    elif program.forming:  # the gradient is best that of one product over ranks
        prepared = prepare(factors)
        at_once = dataclasses.replace(program, forming="at once")
        prepare = functools.partial(_prepare, at_once, structure, precision)
        _, transpose_prepare = jax.vjp(prepare, factors)
    else:
        prepared, transpose_prepare = jax.vjp(prepare, factors)

    def step_gradients(samples: tuple[Array, Array]) -> tuple[Array, Prepared]:
        x, g = samples
        _, transpose = jax.vjp(functools.partial(_step, program, structure, precision), prepared, x)
        of_prepared, of_x = transpose(g)
        return of_x, of_prepared

    of_x, of_prepared = _map_and_sum(program, step_gradients, (x, g))
    return of_x, transpose_prepare(of_prepared)[0]


def _merged(program: Program, x: Array, factors: Factors) -> tuple[Array, Array]:
    """Returns both factors of a native program's term, of the type that is computed with."""
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    (index,) = program.terms
    return merge_factors([factor.astype(dtype) for factor in factors[index]], program.split)


@dataclasses.dataclass(frozen=True)
class _InPlaceOfNative:
    """What XLA does in place of a native kernel; equal wherever it does the same."""

    program: Program
    structure: KroneckerStructure
    precision: lax.PrecisionLike

    @property
    def merged(self) -> KroneckerStructure:
        """The structure of both factors, without padding."""
        return merged_structure(self.structure.terms[self.program.terms[0]], self.program.split)

    @property
    def otherwise(self) -> Program:
        """XLA's program."""
        assert self.program.otherwise is not None
        return self.program.otherwise


@dataclasses.dataclass(frozen=True)
class _StandIn(_InPlaceOfNative):
    """The product."""

    def __call__(self, x: Array, a: Array, b: Array) -> Array:
        factors = ((a.astype(x.dtype), b.astype(x.dtype)),)
        x = _padded(x, self.merged.inputs)
        y = multiply(self.otherwise, self.merged, self.precision, x, factors)
        return y[:, : self.structure.features]


@dataclasses.dataclass(frozen=True)
class _StandInGradients(_InPlaceOfNative):
    """The gradients."""

    def __call__(self, x: Array, a: Array, b: Array, g: Array) -> tuple[Array, Array, Array]:
        factors = ((a.astype(x.dtype), b.astype(x.dtype)),)
        x, g = _padded(x, self.merged.inputs), _padded(g, self.merged.features)
        of_x, ((of_a, of_b),) = gradients(
            self.otherwise, self.merged, self.precision, x, factors, g
        )
        of_x = of_x[:, : self.structure.inputs]
        return of_x, of_a.astype(a.dtype), of_b.astype(b.dtype)


@dataclasses.dataclass(frozen=True)
class _FormByRows:
    """What XLA does where the kernel of two factors is not formed natively."""

    term: KroneckerTerm

    def __call__(self, a: Array, b: Array) -> Array:
        return form_kernel_by_rows(self.term, (a, b))


@dataclasses.dataclass(frozen=True)
class _GradientsOfFactors:
    """The gradients of both factors from that of the kernel that they form."""

    term: KroneckerTerm

    def __call__(self, a: Array, b: Array, of_kernel: Array) -> tuple[Array, Array]:
        form = functools.partial(form_kernel, self.term, precision=lax.Precision.HIGHEST)
        _, transpose = jax.vjp(lambda a, b: form((a, b)), a, b)
        return transpose(of_kernel)


def _pair_of_first(term: KroneckerTerm) -> KroneckerTerm:
    """Returns a term with the first factor alone, and the others merged."""
    return KroneckerTerm(pair_of(term, 1), term.rank)


def _form_natively(term: KroneckerTerm, factors: TermFactors) -> Array:
    if term.num_factors == 1:
        return factors[0][0]
    return form(*merge_factors(factors, 1), _FormByRows(_pair_of_first(term)))


def _gradients_of_formed(
    program: Program, structure: KroneckerStructure, factors: Factors, of_prepared: Prepared
) -> tuple[Factors]:
    """Returns the gradients of all factors by that of the kernel that the program's terms form."""
    (of_kernel,) = of_prepared
    found = list(jax.tree.map(jnp.zeros_like, factors))
    for index in program.terms:
        term = structure.terms[index]
        padding = (0, term.inputs - structure.inputs), (0, term.features - structure.features)
        of_term = jnp.pad(of_kernel, padding) if structure.is_padded else of_kernel
        if term.num_factors == 1:
            found[index] = (of_term[None],)
            continue
        merge = functools.partial(merge_factors, split=1)
        pair, transpose_merge = jax.vjp(merge, factors[index])
        otherwise = _GradientsOfFactors(_pair_of_first(term))
        of_pair = gradients_of_factors(*pair, of_term, otherwise)
        (found[index],) = transpose_merge(of_pair)
    return (tuple(found),)


def _padded(x: Array, size: int) -> Array:
    # Not every version of JAX knows that padding by nothing is no new array to keep.
    return x if x.shape[1] == size else jnp.pad(x, ((0, 0), (0, size - x.shape[1])))


def _prepare(
    program: Program, structure: KroneckerStructure, precision: lax.PrecisionLike, factors: Factors
) -> Prepared:
    """Returns the arrays that the steps multiply by."""
    if program.strategy == "materialize":
        terms = [(structure.terms[index], factors[index]) for index in program.terms]
        if program.forming == "natively":
            kernels = [_form_natively(*term) for term in terms]
        elif program.forming == "by rows":
            kernels = [form_kernel_by_rows(*term) for term in terms]
        else:
            kernels = [form_kernel(*term, precision) for term in terms]
        cut = [kernel[: structure.inputs, : structure.features] for kernel in kernels]
        return (functools.reduce(operator.add, cut),)
    (index,) = program.terms
    if not program.split:
        return tuple(factors[index])
    a, b = merge_factors(factors[index], program.split)
    r, n1, m1 = a.shape
    _, n2, m2 = b.shape
    if program.left_first:
        return a.transpose(2, 0, 1).reshape(m1 * r, n1), b.reshape(r * n2, m2)
    return a.transpose(2, 1, 0).reshape(m1, n1 * r), b.transpose(1, 0, 2).reshape(n2, r * m2)


def _step(
    program: Program,
    structure: KroneckerStructure,
    precision: lax.PrecisionLike,
    prepared: Prepared,
    x: Inexact[Array, "batch inputs"],
) -> Inexact[Array, "batch features"]:
    """Multiplies some samples by what was prepared."""
    dot = functools.partial(own_dot_general, precision=precision)
    if program.strategy == "materialize":
        return dot(x, prepared[0], (((1,), (0,)), ((), ())))
    term = structure.terms[program.terms[0]]
    x = _padded(x, term.inputs)
    if program.split:
        y = _two_factors(program, pair_of(term, program.split), dot, prepared, x)
    else:
        y = contract_in_order(x, term, prepared, dot)
    return y[:, : structure.features]


def _two_factors(
    program: Program,
    pair: Pair,
    dot: Callable[..., Array],
    prepared: Prepared,
    x: Inexact[Array, "batch inputs"],
) -> Inexact[Array, "batch features"]:
    """Multiplies by ``A`` and ``B``; see ``kfc_jax.product.planner`` for the products."""
    (n1, m1), (n2, m2) = pair
    batch = x.shape[0]
    a, b = prepared
    by_a = functools.partial(_from_left, dot, a, batched=program.strategy == "batched")
    matrices = (((1,), (0,)), ((), ()))
    x = x.reshape(batch, n1, n2)
    if program.left_first:
        state = by_a(x).reshape(batch * m1, b.shape[0])
        return dot(state, b, matrices).reshape(batch, m1 * m2)
    state = dot(x.reshape(batch * n1, n2), b, matrices)
    return by_a(state.reshape(batch, a.shape[1], m2)).reshape(batch, m1 * m2)


def _from_left(
    dot: Callable[..., Array],
    a: Inexact[Array, "rows inner"],
    x: Inexact[Array, "batch inner columns"],
    *,
    batched: bool,
) -> Inexact[Array, "batch rows columns"]:
    """Returns ``a @ x[i]`` for every sample."""
    if x.shape[0] == 1:
        return dot(a, x[0], (((1,), (0,)), ((), ())))[None]
    if batched:
        repeated = jnp.broadcast_to(a, (x.shape[0], *a.shape))
        return dot(repeated, x, (((2,), (1,)), ((0,), (0,))))
    return dot(a, x, (((1,), (1,)), ((), ()))).transpose(1, 0, 2)


def _map(program: Program, step: Callable[[Array], Array], x: Array) -> Array:
    """Applies ``step`` to chunks of samples."""
    if program.chunk >= x.shape[0]:
        return step(x)
    whole, rest = _split(program, x)
    _, y = lax.scan(lambda _, x: ((), step(x)), (), whole, unroll=_unroll(program))
    y = y.reshape(-1, *y.shape[2:])
    return jnp.concatenate([y, step(rest)]) if rest.shape[0] else y


def _map_and_sum(
    program: Program, step: Callable[[Any], tuple[Array, Prepared]], samples: tuple[Array, Array]
) -> tuple[Array, Prepared]:
    """Applies ``step`` to chunks of samples; its second result is summed over the chunks."""
    if program.chunk >= samples[0].shape[0]:
        return step(samples)
    split = [_split(program, array) for array in samples]

    def body(sums: Prepared, chunk: Any) -> tuple[Prepared, Array]:
        of_x, of_prepared = step(chunk)
        return jax.tree.map(operator.add, sums, of_prepared), of_x

    # Sums of half precision are kept in single precision, as those inside a product are.
    shapes = jax.eval_shape(step, tuple(whole[0] for whole, _ in split))[1]
    zeros = jax.tree.map(_zeros_of_a_sum, shapes)
    sums, of_x = lax.scan(body, zeros, tuple(w for w, _ in split), unroll=_unroll(program))
    of_x = of_x.reshape(-1, *of_x.shape[2:])
    if split[0][1].shape[0]:
        of_rest, of_prepared = step(tuple(rest for _, rest in split))
        of_x = jnp.concatenate([of_x, of_rest])
        sums = jax.tree.map(operator.add, sums, of_prepared)
    return of_x, jax.tree.map(lambda total, s: total.astype(s.dtype), sums, shapes)


def _zeros_of_a_sum(shape: jax.ShapeDtypeStruct) -> Array:
    zeros = jnp.zeros(shape.shape, jnp.promote_types(shape.dtype, jnp.float32))
    axes = varying_axes(shape)
    return lax.pcast(zeros, tuple(sorted(axes)), to="varying") if axes else zeros


def _split(program: Program, x: Array) -> tuple[Array, Array]:
    """Splits samples into whole chunks, stacked, and the rest."""
    count = x.shape[0] // program.chunk
    whole = x[: count * program.chunk].reshape(count, program.chunk, *x.shape[1:])
    return whole, x[count * program.chunk :]


def _unroll(program: Program) -> int:
    return UNROLL if program.strategy == "per_sample" else 1
