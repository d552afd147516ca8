"""Rows of a kernel that is stored as factors, without the others: the lookup of an embedding.

Row ``i`` of a product of factors is the product of one row of each: the digits of ``i`` say which,
where the first factor's is the slowest. For a batch of indices these rows are gathered and
multiplied, so that a lookup costs about ``2 * rank`` operations for each number that it returns,
however many rows the kernel has, and its gradient goes back to the gathered rows alone.
"""

from __future__ import annotations

import functools
import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Inexact, Integer

from kfc_jax.product.dot_general import own_dot_general
from kfc_jax.product.factors import TermFactors
from kfc_jax.product.matmul import Factors, checked_structure
from kfc_jax.product.sharding import gather
from kfc_jax.structures import KroneckerStructure, KroneckerTerm


def kronecker_rows(
    indices: Integer[Array | np.ndarray, "*batch"],
    factors: Factors,
    *,
    structure: KroneckerStructure | None = None,
) -> Inexact[Array, "*batch features"]:
    """Returns ``kernel[indices]`` for the kernel that ``factors`` stand for, which is not formed.

    Indices are taken as by ``jax.numpy.take``: negative ones count from the end, and the rows of
    those that are out of range are NaN and have no gradient. Products of the factors' entries are
    summed in the highest precision of their type, as ``materialize`` does.

    Example::

      >>> import jax.numpy as jnp
      >>> from kfc_jax import materialize
      >>> from kfc_jax.product import kronecker_rows
      >>> factors = [[jnp.arange(6.0).reshape(1, 3, 2), jnp.arange(8.0).reshape(1, 4, 2)]]
      >>> rows = kronecker_rows(jnp.array([[7, -1]]), factors)
      >>> rows.shape, bool(jnp.all(rows == materialize(factors)[jnp.array([[7, -1]])]))
      ((1, 2, 4), True)

    Args:
      indices: the numbers of rows, of any shape and integer type.
      factors: for every term a sequence of N arrays ``(rank, n_k, m_k)``.
      structure: the structure, which is needed only if the terms are padded: it tells the kernel's
        true size.

    Raises:
      ValueError: if the factors do not have the structure's shapes, or form no structure, or the
        indices are no integers.
    """
    indices = jnp.asarray(indices)
    structure = checked_structure(factors, structure)
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise ValueError(f"Indices of rows are integers, but these are of type {indices.dtype}.")
    dtype = jnp.result_type(*(factor for term in factors for factor in term))
    arrays = tuple(tuple(gather(jnp.asarray(f, dtype)) for f in term) for term in factors)
    rows = _rows(structure, _counted_from_zero(indices.reshape(-1), structure.inputs), arrays)
    return rows.reshape(*indices.shape, structure.features)


# Jitted, so that a lookup outside of jit is one program.
@functools.partial(jax.jit, static_argnums=0, inline=True)
def _rows(structure: KroneckerStructure, rows: Array, factors: Any) -> Array:
    parts = [
        _rows_of_term(term, rows, arrays)[:, : structure.features]
        for term, arrays in zip(structure.terms, factors, strict=True)
    ]
    return functools.reduce(operator.add, parts)


def _counted_from_zero(indices: Integer[Array, " rows"], count: int) -> Integer[Array, " rows"]:
    """Returns indices of which those that are out of range are all ``-1``."""
    if jnp.issubdtype(indices.dtype, jnp.unsignedinteger):
        # Before they get a sign, which would turn the largest ones into the last rows.
        indices = jnp.minimum(indices, min(count, jnp.iinfo(indices.dtype).max))
    indices = indices.astype(jnp.int64 if indices.dtype.itemsize == 8 else jnp.int32)
    rows = jnp.where(indices < 0, indices + count, indices)
    return jnp.where((rows >= 0) & (rows < count), rows, -1)


def _rows_of_term(
    term: KroneckerTerm, rows: Integer[Array, " rows"], factors: TermFactors
) -> Inexact[Array, "rows columns"]:
    gathered = []
    for k, factor in enumerate(factors):
        faster = math.prod(n for n, _ in term.shapes[k + 1 :])
        # What is out of range is so for every factor: no NaN comes back to a row that is there.
        digits = jnp.where(rows < 0, term.shapes[k][0], rows // faster % term.shapes[k][0])
        gathered.append(jnp.take(jnp.swapaxes(jnp.asarray(factor), 0, 1), digits, axis=0))
    *others, last = gathered  # each (rows, rank, m_k)
    if not others:  # one factor: a plain matrix, whose rank is 1
        return last[:, 0]
    left = functools.reduce(_products, others)
    over_ranks = (((1,), (1,)), ((0,), (0,)))
    product = own_dot_general(left, last, over_ranks, precision=lax.Precision.HIGHEST)
    return product.reshape(rows.shape[0], term.features)


def _products(
    a: Inexact[Array, "rows rank columns_a"], b: Inexact[Array, "rows rank columns_b"]
) -> Inexact[Array, "rows rank columns"]:
    return (a[..., :, None] * b[..., None, :]).reshape(*a.shape[:2], a.shape[2] * b.shape[2])
