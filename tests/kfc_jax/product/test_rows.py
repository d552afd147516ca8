import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from kfc_jax import KroneckerStructure
from kfc_jax.product import kronecker_rows
from tests.kfc_jax.reference import dense_kernel, message_of, random_factors, structures

PADDED = KroneckerStructure.parse("3:4x3*5x7@19x20")
TWO_TERMS = KroneckerStructure.parse("2:4x3*5x7+1:2x3*5x1*2x7@19x20")


@hypothesis.given(structures(), st.integers(0, 9))
@hypothesis.settings(max_examples=15)
def test_all_rows_are_the_kernel(structure, seed):
    factors = random_factors(structure, seed)
    with jax.enable_x64(True):
        rows = kronecker_rows(np.arange(structure.inputs), factors, structure=structure)
    np.testing.assert_allclose(rows, dense_kernel(structure, factors), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "numbers"),
    [
        ("int32", [0, 18, -1, -19, -20, 19, 2**31 - 1, -(2**31)]),
        ("int8", [0, 18, -1, -19, -20, 19, 127, -128]),
        ("uint8", [0, 18, 19, 255]),
        ("uint32", [0, 18, 19, 2**31, 2**32 - 1]),
    ],
)
def test_indices_are_taken_as_by_take(dtype, numbers):
    factors = random_factors(PADDED, dtype=np.float32)
    indices = np.array(numbers, dtype)
    expected = jnp.take(dense_kernel(PADDED, factors).astype(np.float32), indices, axis=0)
    assert jnp.isnan(expected).any()
    rows = kronecker_rows(indices, factors, structure=PADDED)
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-5)


def test_small_types_reach_all_rows_that_they_can():
    structure = KroneckerStructure.parse("1:20x2*20x2")  # 400 rows: more than an int8 counts
    factors = random_factors(structure, dtype=np.float32)
    kernel = dense_kernel(structure, factors)
    for dtype in ("int8", "uint8"):
        indices = np.array([0, 100, 127, -1 if dtype == "int8" else 255], dtype)
        rows = kronecker_rows(indices, factors, structure=structure)
        np.testing.assert_allclose(rows, kernel[indices], rtol=1e-5)


@pytest.mark.parametrize("structure", [PADDED, TWO_TERMS], ids=str)
def test_gradients_are_those_of_the_formed_kernel_also_with_indices_out_of_range(structure):
    indices = np.array([[3, 3, -2], [18, 19, -20]])  # the last two are out of range
    seen = np.asarray([[1, 1, 1], [1, 0, 0]])[..., None]

    def loss(of_rows, factors):
        return jnp.sum(jnp.where(seen, jnp.sin(of_rows(factors)), 0.0))

    def of_table(factors):
        terms = []
        for term in factors:
            products = jax.vmap(lambda *fs: functools.reduce(jnp.kron, fs))(*term)
            terms.append(products.sum(0)[: structure.inputs, : structure.features])
        return jnp.take(sum(terms), indices, axis=0)

    with jax.enable_x64(True):
        factors = jax.tree.map(jnp.asarray, random_factors(structure))
        of_factors = functools.partial(kronecker_rows, indices, structure=structure)
        found = jax.grad(functools.partial(loss, of_factors))(factors)
        expected = jax.grad(functools.partial(loss, of_table))(factors)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-10), found, expected)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def test_a_lookup_makes_no_array_as_large_as_the_table():
    structure = KroneckerStructure.balanced(2**20, 2**12, rank=2)
    factors = [
        [jax.ShapeDtypeStruct((t.rank, *shape), jnp.float32) for shape in t.shapes]
        for t in structure.terms
    ]
    indices = jax.ShapeDtypeStruct((7,), jnp.int32)

    def step(factors, indices):
        return jax.grad(lambda f: jnp.sum(kronecker_rows(indices, f, structure=structure)))(factors)

    memory = jax.jit(step).lower(factors, indices).compile().memory_analysis()
    largest = max(n * m for n, m in structure.terms[0].shapes) * 2
    assert memory.temp_size_in_bytes < 4 * (10 * largest)  # the table: 16 GiB


def test_what_is_no_integer_is_refused():
    factors = random_factors(PADDED)
    message = message_of(kronecker_rows, np.array([1.0]), factors, structure=PADDED)
    assert "float" in message
    message = message_of(kronecker_rows, np.array([1]), factors[0][:1] * 2, structure=PADDED)
    assert "3:4x3*5x7@19x20" in message
