import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kfc_jax import CompressedModel, convert, plan_compression, to_dense
from tests.kfc_jax.reference import message_of

STRUCTURES = {"block/up": "2:6x8*8x8", "head": "rank 3"}


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Dense(64, name="up", use_bias=False)(x))


class Model(nn.Module):
    """Written for nobody's compression: setup and compact, batch norm, dropout, a second method."""

    def setup(self):
        self.block, self.norm, self.head = Block(), nn.BatchNorm(), nn.Dense(10)
        self.drop = nn.Dropout(0.5)

    def __call__(self, x, train=False):
        x = self.norm(self.block(x), use_running_average=not train)
        return self.head(self.drop(x, deterministic=not train))

    def encode(self, x):
        return self.block(x)


@pytest.fixture(scope="module")
def made():
    model, x = Model(), jnp.asarray(np.random.default_rng(0).normal(size=(8, 48)), jnp.float32)
    variables = model.init(jax.random.key(0), x)
    params, _ = convert(variables["params"], STRUCTURES)
    return model, x, variables, {**variables, "params": params}


def test_a_model_runs_on_compressed_parameters_without_an_edit(made):
    model, x, variables, compressed = made
    dense = {**variables, "params": to_dense(compressed["params"], STRUCTURES)}
    small = CompressedModel(model, STRUCTURES)
    np.testing.assert_allclose(small.apply(compressed, x), model.apply(dense, x), atol=1e-4)
    np.testing.assert_allclose(
        jax.jit(small.apply)(compressed, x), model.apply(dense, x), atol=1e-4
    )

    # Gradients reach the factors, and other collections are updated as ever.
    def loss(params):
        out, updates = small.apply(
            {**compressed, "params": params},
            x,
            train=True,
            rngs={"dropout": jax.random.key(1)},
            mutable=["batch_stats"],
        )
        return jnp.sum(out**2), updates

    gradients, updates = jax.grad(loss, has_aux=True)(compressed["params"])
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradients["block"]))
    assert np.any(updates["batch_stats"]["norm"]["mean"] != 0)


def test_new_parameters_have_the_paths_of_the_converted_ones(made):
    model, x, _, compressed = made
    new = CompressedModel(model, STRUCTURES).init(jax.random.key(1), x)
    assert jax.tree.map(jnp.shape, new) == jax.tree.map(jnp.shape, compressed)


def test_a_plan_serves_as_structures_and_dense_layers_stay(made):
    model, x, variables, _ = made
    plan = plan_compression(variables["params"], 0.5, exclude=["head"])
    params, _ = convert(variables["params"], plan)
    assert "kernel" in params["head"]
    outputs = CompressedModel(model, plan).apply({**variables, "params": params}, x)
    assert outputs.shape == (8, 10)


def test_other_methods_run(made):
    model, x, _, compressed = made
    kernel = to_dense(compressed["params"], STRUCTURES)["block"]["up"]["kernel"]
    encoded = CompressedModel(model, STRUCTURES).apply(compressed, x, method="encode")
    np.testing.assert_allclose(encoded, np.maximum(x @ kernel, 0), atol=1e-4)


def test_fields_of_the_dense_layer_are_kept():
    model = nn.Dense(6, dtype=jnp.bfloat16, param_dtype=jnp.float32, use_bias=False)
    small = CompressedModel(nn.Sequential([model, nn.relu]), {"layers_0": "1:2x3*4x2"})
    x = jnp.ones((3, 8))
    variables = small.init(jax.random.key(0), x)
    assert variables["params"]["layers_0"].keys() == {"kernel_0_0", "kernel_0_1"}
    assert small.apply(variables, x).dtype == jnp.bfloat16


@pytest.mark.parametrize("path", ["haed", "norm", "block"])
def test_a_structure_for_no_layer_is_refused(made, path):
    model, x, _, _ = made
    small = CompressedModel(model, {**STRUCTURES, path: "rank 1"})
    message = message_of(small.init, jax.random.key(0), x)
    assert f"calls no dense layer {path!r}" in message
    # Whoever calls another method may leave layers out.
    CompressedModel(model, STRUCTURES).init(jax.random.key(0), x, method="encode")


def test_inputs_may_be_given_by_keyword():
    class Keyword(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(16, name="fc")(inputs=x)

    x = jnp.ones((2, 12))
    params = CompressedModel(Keyword(), {"fc": "1:3x4*4x4"}).init(jax.random.key(0), x)["params"]
    assert params["fc"].keys() == {"kernel_0_0", "kernel_0_1", "bias"}
