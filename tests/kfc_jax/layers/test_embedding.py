import dataclasses
import functools
import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kfc_jax
from kfc_jax import KFCDense, KFCEmbed, KroneckerStructure, materialize
from tests.kfc_jax.reference import dense_kernel, key, message_of

SIZES = [
    pytest.param(19, 20, {"structure": "3:4x3*5x7"}, id="padded"),
    pytest.param(20, 12, {"rank": 2, "num_factors": 3}, id="3-factors"),
    pytest.param(20, 12, {"structure": "2:4x3*5x4+1:2x12*10x1"}, id="2-terms"),
    pytest.param(1, 12, {}, id="1-row"),
]
sizes = pytest.mark.parametrize(("rows", "features", "fields"), SIZES)


def table_of(layer, params):
    """The table that the factors stand for, by numpy.kron in float64."""
    structure = layer.resolve_structure()
    return dense_kernel(structure, structure.factors_of(params))


def initialised(layer):
    return layer.init(key(0), jnp.zeros(1, jnp.int32))


def test_fields_are_those_of_embed_then_those_of_kfc_dense():
    def fields(cls):
        return [f for f in dataclasses.fields(cls) if f.name not in ("parent", "name")]

    theirs, ours = fields(nn.Embed), fields(KFCEmbed)
    new = ["structure", "rank", "num_factors", "strategy"]
    assert [f.name for f in ours] == [f.name for f in theirs] + new
    of_dense = {f.name: f.default for f in fields(KFCDense)}
    defaults = [f.default for f in theirs] + [of_dense[name] for name in new]
    assert [f.default for f in ours] == defaults
    for field in ours:
        assert f"\n  {field.name}: " in inspect.cleandoc(KFCEmbed.__doc__)


@sizes
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3, 4)])
def test_lookups_are_those_of_embed_with_the_formed_table(rows, features, fields, shape):
    layer = KFCEmbed(rows, features, **fields)
    variables = initialised(layer)
    # A fifth of them out of range, some negative.
    indices = np.random.default_rng(0).integers(-rows - 3, rows + 3, shape)
    table = table_of(layer, variables["params"]).astype(np.float32)
    dense = nn.Embed(rows, features)
    # Flat, as that of one row takes no scalar.
    expected = dense.apply({"params": {"embedding": table}}, jnp.ravel(indices))
    found = jax.jit(layer.apply)(variables, indices)
    expected = np.reshape(expected, (*shape, features))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert found.shape == expected.shape


@sizes
def test_attend_is_the_product_with_the_transposed_table(rows, features, fields):
    layer = KFCEmbed(rows, features, **fields)
    variables = initialised(layer)
    query = np.random.default_rng(0).standard_normal((2, 3, features)).astype(np.float32)
    expected = query @ table_of(layer, variables["params"]).T
    found = layer.apply(variables, query, method="attend")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_gradients_of_a_tied_embedding_are_those_through_the_formed_table():
    layer = KFCEmbed(19, 20, structure="3:4x3*5x7@19x20")
    variables = initialised(layer)
    words = jnp.array([[3, 4, 4], [18, 0, 1]])
    structure = layer.resolve_structure()

    def loss(embed, attend, params):
        logits = attend(params, jnp.tanh(embed(params, words)))
        return optax.softmax_cross_entropy_with_integer_labels(logits, words[::-1]).mean()

    def table(params):
        return materialize(structure.factors_of(params), structure=structure)

    found = jax.grad(
        functools.partial(
            loss,
            lambda p, w: layer.apply({"params": p}, w),
            lambda p, q: layer.apply({"params": p}, q, method="attend"),
        )
    )(variables["params"])
    expected = jax.grad(
        functools.partial(loss, lambda p, w: table(p)[w], lambda p, q: q @ table(p).T)
    )(variables["params"])
    close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6)
    jax.tree.map(close, found, expected)


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
@pytest.mark.parametrize("param_dtype", [jnp.float32, jnp.bfloat16])
def test_types_are_those_of_embed(dtype, param_dtype):
    ours = KFCEmbed(20, 12, dtype=dtype, param_dtype=param_dtype)
    theirs = nn.Embed(20, 12, dtype=dtype, param_dtype=param_dtype)
    words, query = jnp.array([1, 2]), jnp.ones((2, 12))
    for method, argument in (("__call__", words), ("attend", query)):
        outputs = []
        for layer in (ours, theirs):
            variables = initialised(layer)
            assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(param_dtype)}
            outputs.append(layer.apply(variables, argument, method=method))
        assert (outputs[0].dtype, outputs[0].shape) == (outputs[1].dtype, outputs[1].shape)


@pytest.mark.parametrize(
    "init", [None, nn.initializers.normal(0.3), nn.with_partitioning(nn.initializers.ones, "ab")]
)
def test_the_table_starts_with_the_variance_of_its_initialiser(init):
    fields = {} if init is None else {"embedding_init": init}
    tables = []
    for layer in (KFCEmbed(300, 128, rank=4, **fields), nn.Embed(300, 128, **fields)):
        params = nn.unbox(initialised(layer)["params"])
        tables.append(table_of(layer, params) if "embedding" not in params else params["embedding"])
    np.testing.assert_allclose(np.std(tables[0]), np.sqrt(np.mean(tables[1] ** 2)), rtol=0.2)


def test_the_default_draws_no_table():
    layer = KFCEmbed(2**20, 2**16)  # the table: 256 GiB
    with jax.checking_leaks():
        params = jax.jit(layer.init)(jax.random.key(0), jnp.array([1]))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) < 2**24


def test_a_table_trains_by_the_rule_for_factors():
    layer = KFCEmbed(20, 12, rank=2)
    variables = initialised(layer)
    targets = jax.random.normal(jax.random.key(1), (20, 12))
    optimizer = optax.chain(
        optax.scale_by_adam(),
        kfc_jax.scale_factor_updates(),
        kfc_jax.add_decayed_weights(1e-4),
        optax.scale_by_learning_rate(0.02),
    )

    @jax.jit
    def step(variables, state):
        def loss(variables):
            return jnp.mean((layer.apply(variables, jnp.arange(20)) - targets) ** 2)

        value, gradients = jax.value_and_grad(loss)(variables)
        updates, state = optimizer.update(gradients, state, variables)
        return optax.apply_updates(variables, updates), state, value

    state = optimizer.init(variables)
    losses = []
    for _ in range(100):
        variables, state, value = step(variables, state)
        losses.append(float(value))
    assert losses[-1] < 0.8 * losses[0]


def test_it_works_inside_flaxs_transformations():
    words = jnp.array([[1, 2], [3, 4]])
    ensemble = nn.vmap(
        KFCEmbed,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        in_axes=None,
        axis_size=3,
    )(20, 12)
    outputs, variables = ensemble.init_with_output(key(0), words)
    for i in range(3):
        slices = jax.tree.map(lambda leaf, i=i: leaf[i], variables)
        expected = KFCEmbed(20, 12).apply(slices, words)
        np.testing.assert_allclose(outputs[i], expected, rtol=1e-5, atol=1e-6)
    remat = nn.remat(KFCEmbed)(20, 12)
    slices = jax.tree.map(lambda leaf: leaf[0], variables)
    np.testing.assert_allclose(remat.apply(slices, words), outputs[0], rtol=1e-5, atol=1e-6)


def test_errors_say_what_to_do():
    words = jnp.array([1])
    layer = KFCEmbed(800, 1024, structure="8:28x32*28x32")
    message = message_of(jax.eval_shape, layer.init, jax.random.key(0), words)
    assert "784x1024" in message
    assert "800x1024" in message
    message = message_of(jax.eval_shape, KFCEmbed(20, 12).init, jax.random.key(0), jnp.ones(2))
    assert "integers" in message


def test_the_transposed_structure_swaps_both_sides():
    structure = KroneckerStructure.parse("3:4x3*5x7+1:2x3*5x1*2x7@19x20")
    assert structure.transposed.transposed == structure
    factors = [[np.ones((t.rank, *s)) for s in t.shapes] for t in structure.terms]
    swapped = [[f.swapaxes(1, 2) for f in term] for term in factors]
    np.testing.assert_array_equal(
        dense_kernel(structure.transposed, swapped), dense_kernel(structure, factors).T
    )
