"""Contract an input with all factors of a term in turn, or form products of factors."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Inexact

from kfc_jax.product.dot_general import own_dot_general
from kfc_jax.structures import KroneckerTerm

TermFactors = Sequence[Inexact[Array | np.ndarray, "rank _ _"]]
"""The factors of one term: a rank that all share, and a shape of its own for each."""

_RANK, _BATCH = "rank", "batch"
_MAX_UNROLLED = 32  # ranks whose products are written out one by one


def contract_in_order(
    x: Inexact[Array, "batch inputs"],
    term: KroneckerTerm,
    factors: TermFactors,
    dot: Callable[..., Array],
) -> Inexact[Array, "batch features"]:
    """Multiplies by a term, factor by factor in the order of fewest FLOPs.

    The input has one axis per factor; each is contracted with its factor, the last contraction also
    sums over the ranks. The axes are tracked by name, and moved only once, at the end.
    """
    sides = range(term.num_factors)
    state = x.reshape(x.shape[0], *(n for n, _ in term.shapes))
    axes: list[str | int] = [_BATCH, *sides]
    for step, k in enumerate(term.contraction_order):
        factor = factors[k]
        shared = [] if step == 0 else [_RANK]  # the state has a rank axis after the first step
        last = step == term.num_factors - 1
        if last and not shared:  # one factor, whose rank is 1: an axis of the state as well
            state, axes = state[:, None], [_BATCH, _RANK, *sides]
        if last:
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


def form_kernel(
    term: KroneckerTerm, factors: TermFactors, precision: lax.PrecisionLike
) -> Inexact[Array, "rows columns"]:
    """Forms a term's kernel: products from the left, the last one a product over the ranks."""
    if term.num_factors == 1:
        return factors[0][0]
    left, last = _kron(factors[:-1]), factors[-1]
    kernel = own_dot_general(left, last, (((0,), (0,)), ((), ())), precision=precision)
    return kernel.transpose(0, 2, 1, 3).reshape(term.inputs, term.features)


def form_kernel_by_rows(
    term: KroneckerTerm, factors: TermFactors
) -> Inexact[Array, "rows columns"]:
    """Returns what ``form_kernel`` does, in a loop over the rows of the first factor.

    On a CPU this takes about half the time: each round writes its part of the kernel where it
    belongs, whereas the product over the ranks is transposed afterwards.
    """
    if term.num_factors == 1:
        return factors[0][0]
    first, rest = factors[0], _kron(factors[1:])

    def rows(row: Inexact[Array, "rank columns_1"]) -> Inexact[Array, "rows_2 columns_1 columns_2"]:
        if term.rank > _MAX_UNROLLED:
            part = jnp.einsum("rp,rjq->pjq", row, rest, precision=lax.Precision.HIGHEST)
            return part.transpose(1, 0, 2)
        products = (row[r][None, :, None] * rest[r][:, None, :] for r in range(term.rank))
        return functools.reduce(operator.add, products)

    kernel = lax.map(rows, first.transpose(1, 0, 2))
    return kernel.reshape(term.inputs, term.features)


def merge_factors(
    factors: TermFactors, split: int
) -> tuple[Inexact[Array, "rank rows_a columns_a"], Inexact[Array, "rank rows_b columns_b"]]:
    """Forms, for every rank, the Kronecker products of the factors left and right of a split."""
    return _kron(factors[:split]), _kron(factors[split:])


def _kron(factors: TermFactors) -> Inexact[Array, "rank rows columns"]:
    product: Any = functools.reduce(_kron_of_two, factors)
    return product


def _kron_of_two(a: Any, b: Any) -> Any:
    product = a[:, :, None, :, None] * b[:, None, :, None, :]
    return product.reshape(a.shape[0], a.shape[1] * b.shape[1], a.shape[2] * b.shape[2])
