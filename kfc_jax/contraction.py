"""The maths of a Kronecker-factored kernel: multiply by it, or form it.

Order convention, that of ``jnp.kron``: indices are row-major, the first factor's the slow ones,
``(A (x) B)[i1*n2 + i2, j1*m2 + j2] = A[i1, j1] * B[i2, j2]``. The factors of one term are arrays
``(rank, n_k, m_k)``, and the term is the sum over the leading axis of their Kronecker products.

A product ``x @ (A (x) B)`` is done factor by factor (Zhou & Wu, arXiv 1507.05775, section 3.1): the
input is viewed as an array with one axis per factor, each axis is contracted with its factor in
the order that needs the fewest FLOPs, and the last contraction also sums over the ranks.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from kfc_jax.structure import KroneckerSum, KroneckerTerm

TermFactors = Sequence[Float[Array, "rank rows columns"]]
Factors = Sequence[TermFactors]
DotGeneral = Callable[..., Any]

_RANK, _BATCH = "rank", "batch"


def structure_of(factors: Factors) -> KroneckerSum:
    """Returns the structure that the shapes of ``factors`` spell, without padding.

    Raises:
      ValueError: if the arrays are not three-dimensional, the ranks within a term differ, or the
        terms do not give kernels of the same size.
    """
    terms = []
    for index, term in enumerate(factors):
        shapes = [jnp.shape(factor) for factor in term]
        if not shapes or any(len(s) != 3 for s in shapes) or len({s[0] for s in shapes}) > 1:
            raise ValueError(
                f"The factors of term {index} have shapes {shapes}: each term needs at least one, "
                "every one of shape (rank, rows, columns) with the same rank."
            )
        terms.append(KroneckerTerm(tuple(s[1:] for s in shapes), shapes[0][0]))
    return KroneckerSum(tuple(terms))


def kronecker_matmul(
    x: Float[Array, "*batch inputs"],
    factors: Factors,
    *,
    structure: KroneckerSum | None = None,
    precision: lax.PrecisionLike = None,
    dot_general: DotGeneral = lax.dot_general,
    may_materialize: bool = True,
) -> Float[Array, "*batch features"]:
    """Returns ``x @ kernel`` for the kernel that ``factors`` stand for.

    The kernel is not formed unless that needs fewer FLOPs (large ranks and batches). Works under
    ``jit``, ``grad``, ``vmap`` and in any float type; the result has the promoted type of ``x``
    and the factors.

    Args:
      x: inputs with any leading axes, also none, also of size zero.
      factors: for every term a sequence of N arrays ``(rank, n_k, m_k)``.
      structure: needed only if the terms are padded: tells the kernel's true size.
      precision: as in ``jax.lax.dot_general``.
      dot_general: replacement for ``jax.lax.dot_general``.
      may_materialize: whether the kernel may be formed where that is cheaper. If not, the products
        are the same ones for every batch, which a ``dot_general`` with a state needs.

    Raises:
      ValueError: if the factors do not have the structure's shapes or form no structure (their
        rank may be above the most useful one), or ``x`` does not have its inputs.
    """
    x = jnp.asarray(x)
    structure = _checked(factors, structure)
    if x.ndim == 0 or x.shape[-1] != structure.inputs:
        raise ValueError(
            f"x of shape {x.shape} cannot be multiplied by a kernel of {structure.inputs} "
            f"inputs and {structure.features} features ('{structure}'): the last axis of x must "
            f"be {structure.inputs}."
        )
    dtype = jnp.result_type(x, *(factor for term in factors for factor in term))
    x = x.astype(dtype)
    factors = [[jnp.asarray(factor, dtype) for factor in term] for term in factors]
    dot = functools.partial(dot_general, precision=precision)

    leading = x.shape[:-1]
    x = x.reshape(math.prod(leading), structure.inputs)
    outputs, kernels = [], []
    materialized = structure.materialized_terms(x.shape[0] if may_materialize else 0)
    for term, arrays, dense in zip(structure.terms, factors, materialized, strict=True):
        if dense:
            kernel = _materialize_term(term, arrays, dot)
            kernels.append(kernel[: structure.inputs, : structure.features])
        else:
            padded = jnp.pad(x, ((0, 0), (0, term.inputs - structure.inputs)))
            outputs.append(_matmul_term(padded, term, arrays, dot)[:, : structure.features])
    if kernels:
        outputs.append(dot(x, functools.reduce(operator.add, kernels), (((1,), (0,)), ((), ()))))
    return functools.reduce(operator.add, outputs).reshape(*leading, structure.features)


def materialize(
    factors: Factors, *, structure: KroneckerSum | None = None
) -> Float[Array, "inputs features"]:
    """Returns the dense kernel that ``factors`` stand for, ``sum_t sum_r F_1 (x) ... (x) F_N``.

    Args:
      factors: for every term a sequence of N arrays ``(rank, n_k, m_k)``.
      structure: needed only if the terms are padded: tells the kernel's true size.

    Raises:
      ValueError: if the factors do not have the structure's shapes, or form no structure.
    """
    structure = _checked(factors, structure)
    dtype = jnp.result_type(*(factor for term in factors for factor in term))
    dot = functools.partial(lax.dot_general, precision=lax.Precision.HIGHEST)
    kernels = [
        _materialize_term(term, [jnp.asarray(a, dtype) for a in arrays], dot)
        for term, arrays in zip(structure.terms, factors, strict=True)
    ]
    return functools.reduce(
        operator.add, (k[: structure.inputs, : structure.features] for k in kernels)
    )


def _checked(factors: Factors, structure: KroneckerSum | None) -> KroneckerSum:
    if structure is None:
        return structure_of(factors)
    shapes = tuple(tuple(jnp.shape(factor) for factor in term) for term in factors)
    expected = tuple(tuple((t.rank, *shape) for shape in t.shapes) for t in structure.terms)
    if shapes != expected:
        raise ValueError(
            f"The factors have shapes {shapes}, but structure '{structure}' needs {expected}."
        )
    return structure


def _matmul_term(
    x: Float[Array, "batch inputs"],
    term: KroneckerTerm,
    factors: TermFactors,
    dot: DotGeneral,
) -> Float[Array, "batch features"]:
    """Contracts one factor after the other; the axes are tracked by name, and moved only once."""
    sides = range(term.num_factors)
    state = x.reshape(x.shape[0], *(n for n, _ in term.shapes))
    axes: list[str | int] = [_BATCH, *sides]
    for step, k in enumerate(term.contraction_order):
        factor = factors[k]
        shared = [] if step == 0 else [_RANK]  # the state has a rank axis after the first step
        last = step == term.num_factors - 1
        if last and not shared:  # one factor: a plain matrix, whose rank is 1
            factor = factor[0]
            contract, batch = (((axes.index(k),), (0,)), ((), ()))
            new_axes = [*(a for a in axes if a != k), k]
        elif last:
            contract = ((axes.index(_RANK), axes.index(k)), (0, 1))
            batch = ((), ())
            new_axes = [*(a for a in axes if a not in (k, _RANK)), k]
        elif shared:
            contract = ((axes.index(k),), (1,))
            batch = ((axes.index(_RANK),), (0,))
            new_axes = [_RANK, *(a for a in axes if a not in (k, _RANK)), k]
        else:
            contract, batch = (((axes.index(k),), (1,)), ((), ()))
            new_axes = [*(a for a in axes if a != k), _RANK, k]
        state, axes = dot(state, factor, (contract, batch)), new_axes
    state = state.transpose([axes.index(a) for a in (_BATCH, *sides)])
    return state.reshape(x.shape[0], term.features)


def _materialize_term(
    term: KroneckerTerm, factors: TermFactors, dot: DotGeneral
) -> Float[Array, "rows columns"]:
    """Forms Kronecker products from the left; the last one is a matrix product over the ranks."""
    *heads, last = factors
    if not heads:
        return last[0]
    left = heads[0]
    for factor in heads[1:]:
        product = left[:, :, None, :, None] * factor[:, None, :, None, :]
        left = product.reshape(
            term.rank, left.shape[1] * factor.shape[1], left.shape[2] * factor.shape[2]
        )
    kernel = dot(left, last, (((0,), (0,)), ((), ())))  # (rows, columns, n_N, m_N)
    return kernel.transpose(0, 2, 1, 3).reshape(term.inputs, term.features)
