"""Orders of hidden units: the error falls, and the network computes the same."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfc_jax import (
    InputStatistics,
    KroneckerStructure,
    convert,
    nearest_kronecker_sum,
    reorder_units,
    to_dense,
    unit_order,
)
from tests.kfc_jax.reference import dense_kernel, message_of, random_factors, structures

MIXED = "1:4x6*6x4+1:6x4*4x6"


@settings(max_examples=12, deadline=None)
@given(structures(max_terms=2, max_factors=3, max_rank=2), st.integers(0, 9), st.booleans())
def test_an_order_is_a_permutation_that_never_raises_the_error(structure, seed, is_weighted):
    random = np.random.default_rng(seed)
    kernel = random.normal(size=(structure.inputs, structure.features)).astype(np.float32)
    inputs = None
    if is_weighted:
        inputs = random.normal(size=(40, structure.inputs)) * random.exponential(
            size=structure.inputs
        )
    order = unit_order(kernel, structure, statistics=inputs, max_rounds=5)
    assert sorted(order) == list(range(structure.features))
    before, after = (
        nearest_kronecker_sum(k, structure, statistics=inputs)[1].sweep_errors[-1]
        for k in (kernel, kernel[:, order])
    )
    assert after <= before + 1e-6


def test_the_structure_of_shuffled_units_is_found_again():
    random = np.random.default_rng(0)
    # Units whose columns are multiples of few directions are easily told apart.
    kernel = np.kron(random.normal(size=(4, 2)), random.normal(size=(8, 8)))
    shuffled = kernel[:, random.permutation(16)].astype(np.float32)
    before = nearest_kronecker_sum(shuffled, "1:4x2*8x8")[1].relative_error
    order = unit_order(shuffled, "1:4x2*8x8")
    after = nearest_kronecker_sum(shuffled[:, order], "1:4x2*8x8")[1].relative_error
    assert after < 0.75 * before


def test_an_order_that_cannot_be_bettered_stays():
    structure = KroneckerStructure.parse("2:4x4*6x5")
    kernel = dense_kernel(structure, random_factors(structure, seed=1)).astype(np.float32)
    np.testing.assert_array_equal(unit_order(kernel, structure), np.arange(20))


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(24, name="first")(x))
        x = nn.tanh(nn.Dense(24, use_bias=False, name="second")(x))
        return nn.Dense(7, name="last")(x)


READERS = {"first": "second", "second": "last"}
PLAN = {"first": "1:4x6*6x4", "second": MIXED, "last": "rank 3"}


@pytest.fixture
def trained():
    x = jax.random.normal(jax.random.key(1), (100, 24)) * jnp.linspace(0.1, 2, 24)
    params = Network().init(jax.random.key(0), x)["params"]
    params["first"]["bias"] = jnp.linspace(-1, 1, 24)
    return params, x


@pytest.mark.parametrize("weighted", [False, True])
def test_the_network_computes_the_same_and_decomposes_better(trained, weighted):
    params, x = trained
    hidden = nn.relu(x @ params["first"]["kernel"] + params["first"]["bias"])
    seen = {
        "first": InputStatistics.of(x),
        "second": InputStatistics.of(hidden),
        "last": InputStatistics.of(nn.tanh(hidden @ params["second"]["kernel"])),
    }
    new, statistics = reorder_units(params, PLAN, READERS, statistics=seen, weighted=weighted)
    np.testing.assert_allclose(
        Network().apply({"params": new}, x), Network().apply({"params": params}, x), atol=1e-5
    )
    now = nn.relu(x @ new["first"]["kernel"] + new["first"]["bias"])
    np.testing.assert_allclose(
        statistics["second"].second_moment, now.T @ now / len(x), rtol=1e-4, atol=1e-5
    )
    how = {"statistics": seen} if weighted else {}
    before = convert(params, PLAN, **how)[1]
    how = {"statistics": statistics} if weighted else {}
    small, after = convert(new, PLAN, **how)
    for path in ("first", "second"):
        error = "output_error" if weighted else "relative_error"
        assert getattr(after[path], error) < getattr(before[path], error)
    assert jax.tree.map(jnp.shape, to_dense(small, PLAN)) == jax.tree.map(jnp.shape, params)


def test_layers_that_stay_or_become_low_rank_keep_their_order(trained):
    params, _ = trained
    new, statistics = reorder_units(params, {"first": "rank 2", "second": "dense"}, READERS)
    jax.tree.map(np.testing.assert_array_equal, new, params)
    assert statistics is None


def test_readers_that_do_not_fit_are_refused(trained):
    params, _ = trained
    assert "no dense layer 'third'" in message_of(reorder_units, params, PLAN, {"first": "third"})
    assert "Layer 'first' cannot read the outputs of 'last': it has 24 inputs" in message_of(
        reorder_units, params, PLAN, {"last": "first"}
    )


def test_a_kernel_with_nan_is_refused():
    assert "1 entries that are NaN" in message_of(
        unit_order, np.float32([[1, np.nan], [0, 1]]), "1:2x1*1x2"
    )
