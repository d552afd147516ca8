"""NNX modules go the same way as those of linen."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import nnx

from kfc_jax import (
    factor_multipliers,
    find_layers,
    input_statistics,
    plan_compression,
    scale_factor_updates,
)
from kfc_jax.compress import convert_module
from kfc_jax.nnx import KFCEmbed, KFCLinear, LowRankLinear
from tests.kfc_jax.reference import message_of
from tests.kfc_jax.stock_models import SEQUENCE, NNXNet


class Noisy(nnx.Module):
    """A table, running averages and a random stream."""

    def __init__(self, rngs):
        self.table = nnx.Embed(24, 16, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(16, 12, rngs=rngs)

    def __call__(self, tokens):
        return self.head(self.drop(self.norm(self.table(tokens))))


TOKENS = jnp.asarray([[1, 5, 23], [0, 5, 7]])


def test_a_module_is_planned_with_statistics_converted_run_and_made_dense_again():
    model = NNXNet(nnx.Rngs(0))
    layers = find_layers(model, None, SEQUENCE)
    assert set(layers) == {
        *(f"attention/{name}" for name in ("key", "out", "query", "value")),
        *("layers/0", "layers/1", "general"),
    }
    statistics = input_statistics(model, None, [SEQUENCE])
    plan = plan_compression(layers, 0.6, statistics=statistics)
    small, reports = convert_module(model, plan, SEQUENCE, statistics=statistics)
    assert reports
    dense = small.to_dense()
    assert isinstance(dense, NNXNet)
    outputs = nnx.jit(lambda m, x: m(x))(small, SEQUENCE)
    np.testing.assert_allclose(outputs, dense(SEQUENCE), atol=1e-5)
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(small, nnx.Param)))
    assert count == plan.parameters
    assert "kernel" in nnx.to_pure_dict(nnx.state(model))["general"]  # the model is as it was


def test_factors_train_by_the_rule_and_state_moves_on(tmp_path):
    model = Noisy(nnx.Rngs(0))
    small, _ = convert_module(model, {"head": "2:4x3*4x4", "table": "2:6x4*4x4"}, TOKENS)
    transform = optax.chain(optax.scale_by_adam(), scale_factor_updates(), optax.scale(-1e-3))
    optimizer = nnx.Optimizer(small, transform, wrt=nnx.Param)
    before = nnx.to_pure_dict(nnx.state(small, nnx.Param))["module"]
    first, second = small(TOKENS), small(TOKENS)
    assert not np.array_equal(first, second)  # another mask
    assert np.any(small.module.norm.mean[...] != 0)

    @nnx.jit
    def step(model, optimizer):
        gradients = nnx.grad(lambda model: jnp.mean(model(TOKENS) ** 2))(model)
        optimizer.update(model, gradients)

    step(small, optimizer)
    after = nnx.to_pure_dict(nnx.state(small, nnx.Param))["module"]
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), before, after)
    for name, multiplier in factor_multipliers(before["head"], gain=0.25).items():
        np.testing.assert_allclose(moved["head"][name], 1e-3 * multiplier, rtol=1e-2)

    with ocp.StandardCheckpointer() as saver:
        saver.save(tmp_path / "state", nnx.to_pure_dict(nnx.state(small, nnx.Param)))
        saver.wait_until_finished()
        restored = saver.restore(tmp_path / "state")
    assert jax.tree.map(jnp.shape, restored["module"]) == jax.tree.map(jnp.shape, after)


def test_layers_of_this_library_take_the_place_of_plain_ones():
    model = Noisy(nnx.Rngs(0))
    structures = {"head": "rank 3", "table": "3:6x4*4x4"}
    other, _ = convert_module(model, structures, TOKENS)
    same, _ = convert_module(model, structures, TOKENS, in_place=True)
    assert same is model
    assert isinstance(model.head, LowRankLinear)
    assert isinstance(model.table, KFCEmbed)
    model.eval()
    other.eval()
    np.testing.assert_allclose(model(TOKENS), other(TOKENS), atol=1e-5)
    net = NNXNet(nnx.Rngs(0))
    message = message_of(convert_module, net, {"general": "rank 2"}, SEQUENCE, in_place=True)
    assert "'general' is of LinearGeneral" in message
    convert_module(net, {"layers/1": "2:4x4*4x4"}, SEQUENCE, in_place=True)
    assert isinstance(net.layers[1], KFCLinear)


class General(nnx.Module):
    """A tied table, and layers of several axes."""

    def __init__(self, rngs):
        self.table = nnx.Embed(24, 16, rngs=rngs)
        self.split = nnx.Einsum("bti,ioh->btoh", (16, 2, 8), (2, 8), rngs=rngs)
        self.join = nnx.LinearGeneral((2, 8), 16, axis=(-2, -1), rngs=rngs)

    def __call__(self, tokens):
        return self.table.attend(self.join(self.split(self.table(tokens))))


def test_layers_of_several_axes_and_tied_tables_go_the_whole_way():
    model = General(nnx.Rngs(0))
    layers = find_layers(model, None, TOKENS)
    assert {path: layer.size for path, layer in layers.items()} == {
        "join": (16, 16),
        "split": (16, 16),
        "table": (24, 16),
    }
    statistics = input_statistics(model, None, [TOKENS])
    structures = {"join": "2:4x4*4x4", "split": "rank 3", "table": "2:6x4*4x4"}
    plan = plan_compression(layers, 1.0, statistics=statistics, structures=structures)
    small, _ = convert_module(model, plan, TOKENS, statistics=statistics)
    dense = small.to_dense()
    shapes = [jax.tree.map(jnp.shape, nnx.to_pure_dict(nnx.state(m))) for m in (dense, model)]
    assert shapes[0] == shapes[1]
    np.testing.assert_allclose(small(TOKENS), dense(TOKENS), atol=1e-5)
    gradients = nnx.grad(lambda module: jnp.mean(module(TOKENS) ** 2))(small)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradients))
