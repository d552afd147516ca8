import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import kfc_jax
from kfc_jax.nnx import KFCEmbed
from tests.kfc_jax.reference import dense_kernel, key, message_of

SIZES = [
    pytest.param(19, 20, {"structure": "3:4x3*5x7"}, id="padded"),
    pytest.param(20, 12, {"rank": 2, "num_factors": 3}, id="3-factors"),
    pytest.param(1, 12, {}, id="1-row"),
]
sizes = pytest.mark.parametrize(("rows", "features", "fields"), SIZES)


def rngs(seed=0):
    return nnx.Rngs(key(seed))


def pure(layer):
    return nnx.to_pure_dict(nnx.state(layer, nnx.Param))


def dense_twin(layer):
    """The layer of NNX with the table that the factors stand for."""
    dense = nnx.Embed(layer.num_embeddings, layer.features, rngs=rngs())
    structure = layer.table_structure
    table = dense_kernel(structure, structure.factors_of(pure(layer)))
    dense.embedding[...] = table.astype(np.float32)
    return dense


def test_arguments_are_those_of_embed_then_the_new_ones():
    theirs = list(inspect.signature(nnx.Embed.__init__).parameters.values())[1:]
    ours = list(inspect.signature(KFCEmbed.__init__).parameters.values())[1:]
    new = ["structure", "rank", "num_factors", "strategy"]
    assert [p.name for p in ours] == [p.name for p in theirs] + new
    for mine, their in zip(ours, theirs, strict=False):
        assert mine.kind == their.kind
        assert mine.name == "embedding_metadata" or mine.default is their.default
    for p in ours:
        assert f"\n  {p.name}: " in inspect.cleandoc(KFCEmbed.__doc__)
    assert all(p.kind == p.KEYWORD_ONLY and p.default is not p.empty for p in ours[len(theirs) :])


@sizes
def test_it_is_embed_with_the_formed_table(rows, features, fields):
    layer = KFCEmbed(rows, features, **fields, rngs=rngs())
    dense = dense_twin(layer)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    rng = np.random.default_rng(0)
    for shape in ((0,), (5,), (2, 3, 4)):
        indices = jnp.asarray(rng.integers(-rows - 3, rows + 3, shape))
        close(nnx.jit(lambda m, i: m(i))(layer, indices), dense(indices))
        query = jnp.asarray(rng.standard_normal((*shape, features)), jnp.float32)
        close(layer.attend(query), dense.attend(query))


@sizes
def test_it_is_the_linen_layer_given_its_parameters(rows, features, fields):
    layer = KFCEmbed(rows, features, **fields, rngs=rngs())
    twin = kfc_jax.KFCEmbed(rows, features, **fields)
    indices = jnp.arange(rows)
    of_init = jax.eval_shape(twin.init, jax.random.key(0), indices)["params"]
    assert jax.tree.map(jnp.shape, pure(layer)) == jax.tree.map(jnp.shape, of_init)
    variables = {"params": pure(layer)}
    np.testing.assert_array_equal(layer(indices), twin.apply(variables, indices))
    query = jnp.ones((2, features))
    expected = twin.apply(variables, query, method="attend")
    np.testing.assert_array_equal(layer.attend(query), expected)


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
@pytest.mark.parametrize("param_dtype", [jnp.float32, jnp.bfloat16])
def test_types_are_those_of_embed(dtype, param_dtype):
    layers = [
        cls(20, 12, dtype=dtype, param_dtype=param_dtype, rngs=rngs())
        for cls in (KFCEmbed, nnx.Embed)
    ]
    assert layers[0].dtype == layers[1].dtype
    assert layers[0].kernel_0_0.dtype == layers[1].embedding.dtype
    for call in (lambda m: m(jnp.array([1, 2])), lambda m: m.attend(jnp.ones((2, 12)))):
        outputs = [call(layer) for layer in layers]
        assert (outputs[0].dtype, outputs[0].shape) == (outputs[1].dtype, outputs[1].shape)


def test_the_table_starts_with_the_variance_of_the_dense_one_and_takes_one_key():
    stds, later = [], []
    for cls in (KFCEmbed, nnx.Embed):
        stream = rngs()
        layer = cls(300, 128, rngs=stream)
        table = dense_twin(layer).embedding if cls is KFCEmbed else layer.embedding
        stds.append(np.std(table[...]))
        later.append(nnx.Linear(3, 3, rngs=stream).kernel[...])
    np.testing.assert_allclose(*stds, rtol=0.2)
    np.testing.assert_array_equal(*later)


def test_a_tied_language_model_trains_in_an_nnx_optimizer():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.embed = KFCEmbed(30, 16, rank=3, rngs=rngs)

        def __call__(self, words):
            return self.embed.attend(self.embed(words))

    model, words = Model(rngs()), jnp.arange(30)
    transform = optax.chain(
        optax.scale_by_adam(),
        kfc_jax.scale_factor_updates(),
        kfc_jax.add_decayed_weights(1e-4),
        optax.scale_by_learning_rate(0.02),
    )
    optimizer = nnx.Optimizer(model, transform, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        def loss(model):
            losses = optax.softmax_cross_entropy_with_integer_labels(model(words), (words + 1) % 30)
            return losses.mean()

        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    losses = [float(step(model, optimizer)) for _ in range(100)]
    assert losses[-1] < 0.9 * losses[0]


def test_axis_names_and_out_sharding_on_a_mesh_with_explicit_axes():
    names = ("rows", "columns")
    with jax.set_mesh(jax.make_mesh((1, 1), names)):
        layer = KFCEmbed(20, 12, embedding_metadata={"out_sharding": names}, rngs=rngs())
        assert layer.kernel_0_0.get_metadata("out_sharding") == (None, *names)
        words = jnp.array([1, 2])
        rows, scores = jax.P("rows"), jax.P(None, "columns")
        vectors = layer(words, out_sharding=rows)
        assert jax.typeof(vectors).sharding.spec[0] == "rows"
        products = layer.attend(vectors, out_sharding=scores)
        assert jax.typeof(products).sharding.spec[1] == "columns"


def test_what_is_no_integer_is_refused():
    assert "integers" in message_of(KFCEmbed(20, 12, rngs=rngs()), jnp.ones(2))
