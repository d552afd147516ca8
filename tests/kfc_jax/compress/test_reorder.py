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
    find_layers,
    input_statistics,
    nearest_kronecker_sum,
    reorder_units,
    to_dense,
    unit_order,
)
from kfc_jax.compress.model_layers import dense_layers
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
    layers = find_layers(Network(), {"params": params}, x)
    reordered, statistics = reorder_units(layers, PLAN, statistics=seen, weighted=weighted)
    new = reordered.params
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
    params, x = trained
    layers = find_layers(Network(), {"params": params}, x)
    new, statistics = reorder_units(layers, {"first": "rank 2", "second": "dense"})
    jax.tree.map(np.testing.assert_array_equal, new.params, params)
    assert statistics is None


class Normed(nn.Module):
    """Units pass scales, averages, a mean over positions, and a residual connection."""

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(24, name="stem")(x)
        hidden = nn.Dense(16, name="up")(nn.LayerNorm(name="norm")(x))
        hidden = nn.BatchNorm(use_running_average=True, name="averages")(nn.gelu(hidden))
        x = x + nn.Dense(24, name="down")(hidden)
        return nn.Dense(5, name="head")(x.mean(-2))


def shuffled(tree, seed=0):
    """Returns a tree with other numbers, so that no scale is one and no bias zero."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    leaves = [jax.random.uniform(k, a.shape) + 0.1 for k, a in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, leaves)


@pytest.mark.parametrize("path", ["stem", "up", "down"])
def test_all_that_counts_the_same_units_is_permuted_with_them(path):
    x = jax.random.normal(jax.random.key(1), (3, 7, 24))
    variables = shuffled(Normed().init(jax.random.key(0), x))
    layers = find_layers(Normed(), variables, x)
    seen = input_statistics(Normed(), variables, [x])
    structure = "1:4x4*6x4" if path == "up" else f"1:4x6*{6 if path == 'stem' else 4}x4"
    new, moved = reorder_units(layers, {path: structure}, statistics=seen)
    assert not np.array_equal(new.params[path]["kernel"], variables["params"][path]["kernel"])
    # `stem` and `down` meet in the sum; `up` has averages of its own.
    changed = {"stem": "norm", "up": "averages", "down": "norm"}[path]
    assert not np.array_equal(new.params[changed]["scale"], variables["params"][changed]["scale"])
    np.testing.assert_allclose(
        Normed().apply(new.variables, x), Normed().apply(variables, x), rtol=1e-4
    )
    again = input_statistics(Normed(), new.variables, [x])
    for name, statistics in again.items():
        np.testing.assert_allclose(statistics.mean, moved[name].mean, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "function",
    [
        lambda p, x: x @ p["w"],  # the model's own outputs
        lambda p, x: jnp.cumsum(x @ p["w"], -1) @ p["v"],
        lambda p, x: ((x @ p["w"]) * jnp.arange(24.0)) @ p["v"],
        lambda p, x: jnp.concatenate([x @ p["w"], x], -1)[:, :24] @ p["v"],
        lambda p, x: (x @ p["w"]).reshape(-1, 4, 6).sum(1) @ p["v"][:6],
        lambda p, x: jnp.sort(x @ p["w"], -1) @ p["v"],
    ],
)
def test_units_whose_place_matters_stay(function):
    x = jax.random.normal(jax.random.key(1), (5, 24))
    params = {name: jax.random.normal(jax.random.key(2), (24, 24)) for name in "wv"}
    new, _ = reorder_units(find_layers(function, params, x), {"w": "1:4x6*6x4"})
    jax.tree.map(np.testing.assert_array_equal, new.params, params)


def test_what_cannot_be_checked_is_refused(trained):
    params, x = trained
    assert "find_layers(model, variables, inputs)" in message_of(
        reorder_units, dense_layers(params), PLAN
    )
    described = jax.ShapeDtypeStruct(x.shape, x.dtype)
    layers = find_layers(Network(), {"params": params}, described)
    assert "give find_layers real inputs" in message_of(reorder_units, layers, PLAN)

    def random(params, x):
        mask = jax.random.bernoulli(jax.random.key(0), 0.5, (24,))
        return jnp.where(mask, x @ params["w"], 0) @ params["v"]

    params = {name: jax.random.normal(jax.random.key(2), (24, 24)) for name in "wv"}
    layers = find_layers(random, params, x)
    assert "outputs change by" in message_of(reorder_units, layers, {"w": "1:4x6*6x4"})


def test_a_kernel_with_nan_is_refused():
    assert "1 entries that are NaN" in message_of(
        unit_order, np.float32([[1, np.nan], [0, 1]]), "1:2x1*1x2"
    )
