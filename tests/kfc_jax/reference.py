"""The library's maths again, in NumPy and the slow way, and strategies that draw structures."""

from __future__ import annotations

import contextlib
import functools
import math

import jax
import jaxtyping
import numpy as np
import pytest
from hypothesis import strategies as st

from kfc_jax import KroneckerStructure, KroneckerTerm


def message_of(call, *args, **kwargs) -> str:
    """Returns the message of the ValueError that the call raises.

    It is the library's own, as users see it.
    """
    with unchecked(), pytest.raises(ValueError, match=r".") as caught:
        call(*args, **kwargs)
    return str(caught.value)


@contextlib.contextmanager
def unchecked():
    """Turns checks of annotations off, where tests turn them on: for arguments that break them."""
    is_off = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", is_off)


def key(seed: int) -> jax.Array:
    """A key of the generator that compiles in a fraction of the default one's time."""
    return jax.random.key(seed, impl="unsafe_rbg")


def random_factors(structure: KroneckerStructure, seed: int = 0, dtype=np.float64):
    """Draws factors of order one, deterministic in ``seed``."""
    rng = np.random.default_rng(seed)
    return [
        [rng.standard_normal((term.rank, *shape)).astype(dtype) for shape in term.shapes]
        for term in structure.terms
    ]


def dense_kernel(structure: KroneckerStructure, factors) -> np.ndarray:
    """Sums ``numpy.kron`` over terms and ranks in float64, and cuts off the padding."""
    kernel = np.zeros((structure.inputs, structure.features))
    for term, arrays in zip(structure.terms, factors, strict=True):
        arrays = [np.asarray(array, np.float64) for array in arrays]
        for r in range(term.rank):
            product = functools.reduce(np.kron, [array[r] for array in arrays])
            kernel += product[: structure.inputs, : structure.features]
    return kernel


def _draw_rank(draw, shapes, max_rank: int) -> int:
    return draw(st.integers(1, min(max_rank, KroneckerTerm(shapes).max_rank)))


@st.composite
def terms(draw, max_factors: int = 4, max_side: int = 4, max_rank: int = 5) -> KroneckerTerm:
    """One term of any number of factors, shapes (also 1x1) and rank."""
    side = st.integers(1, max_side)
    shapes = tuple(draw(st.lists(st.tuples(side, side), min_size=1, max_size=max_factors)))
    return KroneckerTerm(
        shapes, draw(st.integers(1, min(max_rank, KroneckerTerm(shapes).max_rank)))
    )


def _regroup(draw, size: int, num_factors: int) -> tuple[int, ...]:
    sides = []
    for _ in range(num_factors - 1):
        sides.append(draw(st.sampled_from([d for d in range(1, size + 1) if size % d == 0])))
        size //= sides[-1]
    return (*sides, size)


@st.composite
def structures(
    draw, max_terms: int = 3, max_factors: int = 4, max_rank: int = 5
) -> KroneckerStructure:
    """A structure of one or more terms of different shapes, padded in about half the cases."""
    first = draw(terms(max_factors=max_factors, max_rank=max_rank))
    found = [first]
    for _ in range(draw(st.integers(0, max_terms - 1))):
        count = draw(st.integers(1, max_factors))
        rows, columns = (_regroup(draw, size, count) for size in (first.inputs, first.features))
        shapes = tuple(zip(rows, columns, strict=True))
        found.append(KroneckerTerm(shapes, _draw_rank(draw, shapes, max_rank)))
    if draw(st.booleans()):
        # Up to 5% of padding is allowed for every number of factors, whatever the size.
        sizes = (
            draw(st.integers(math.ceil(padded / 1.05), padded))
            for padded in (first.inputs, first.features)
        )
        return KroneckerStructure(tuple(found), *sizes)
    return KroneckerStructure(tuple(found))
