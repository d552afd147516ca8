"""Stacks of NNX layers, made by `nnx.vmap`, run by `nnx.scan` or `nnx.vmap`, go the whole way."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx

from kfc_jax import (
    factor_multipliers,
    find_layers,
    input_statistics,
    plan_compression,
    scale_factor_updates,
)
from kfc_jax.compress import convert_module
from kfc_jax.nnx import KFCLinear
from tests.kfc_jax.reference import message_of
from tests.kfc_jax.stock_models import SEQUENCE


class Block(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.LayerNorm(16, rngs=rngs)
        self.up = nnx.Linear(16, 24, rngs=rngs)
        self.down = nnx.Linear(24, 16, rngs=rngs)

    def __call__(self, x):
        return x + self.down(nnx.relu(self.up(self.norm(x))))


def stack_of(make, rngs, count, axis=0):
    stack = nnx.split_rngs(splits=count)(nnx.vmap(make, in_axes=(0,), out_axes=axis))
    return stack(rngs)


class Scanned(nnx.Module):
    """Blocks, one after the other."""

    def __init__(self, rngs):
        self.blocks = stack_of(Block, rngs, 3)
        self.head = nnx.Linear(16, 8, rngs=rngs)

    def __call__(self, x):
        run = nnx.scan(lambda x, block: block(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        return self.head(run(x, self.blocks))


class Mapped(nnx.Module):
    """Layers side by side, each with its own inputs."""

    def __init__(self, rngs, axis=0):
        self.axis = axis
        self.each = stack_of(lambda rngs: nnx.Linear(16, 12, rngs=rngs), rngs, 5, axis)
        self.head = nnx.Linear(12, 8, rngs=rngs)

    def __call__(self, x):
        run = nnx.vmap(lambda layer, x: layer(x), in_axes=(self.axis, 1), out_axes=1)
        return self.head(run(self.each, x))


STACKS = {
    "scanned": (Scanned, {"blocks/down": ((24, 16), (3,)), "blocks/up": ((16, 24), (3,))}),
    "mapped": (Mapped, {"each": ((16, 12), (5,))}),
}


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("name", STACKS)
def test_a_stack_goes_the_whole_way(name, in_place, tmp_path):
    make, expected = STACKS[name]
    model = make(nnx.Rngs(0))
    layers = find_layers(model, None, SEQUENCE)
    found = {path: (layer.size, layer.stack_shape) for path, layer in layers.items()}
    assert {path: its for path, its in found.items() if path != "head"} == expected
    statistics = input_statistics(model, None, [SEQUENCE])
    assert [len(statistics[path]) for path in expected] == [its[1][0] for its in expected.values()]
    structures = {path: "2:4x4*4x3" if name == "mapped" else "rank 5" for path in expected}
    structures["head"] = "dense"
    plan = plan_compression(layers, 1.0, statistics=statistics, structures=structures)
    run = nnx.jit(lambda module: module(SEQUENCE))
    target = run(model) + 1
    small, _ = convert_module(model, plan, SEQUENCE, statistics=statistics, in_place=in_place)
    assert (small is model) == in_place
    if not in_place:
        dense = small.to_dense()
        np.testing.assert_allclose(run(dense), run(small), atol=1e-5)
        assert jax.tree.structure(nnx.state(dense)) == jax.tree.structure(nnx.state(model))
    assert sum(a.size for a in jax.tree.leaves(nnx.state(small, nnx.Param))) == plan.parameters

    transform = optax.chain(optax.scale_by_adam(), scale_factor_updates(), optax.scale(-1e-3))
    optimizer = nnx.Optimizer(small, transform, wrt=nnx.Param)

    def loss(module):
        return jnp.mean((module(SEQUENCE) - target) ** 2)

    @nnx.jit
    def step(module, optimizer):
        value, gradients = nnx.value_and_grad(loss)(module)
        optimizer.update(module, gradients)
        return value

    before = nnx.to_pure_dict(nnx.state(small, nnx.Param))
    first = step(small, optimizer)
    after = nnx.to_pure_dict(nnx.state(small, nnx.Param))
    for path, (_, (count,)) in expected.items():
        old, new = (_at(tree if in_place else tree["module"], path) for tree in (before, after))
        for factor, multiplier in factor_multipliers(old, gain=0.25).items():
            moved = jnp.abs(new[factor] - old[factor])
            assert moved.shape[0] == count
            np.testing.assert_allclose(moved.max(), 1e-3 * multiplier, rtol=2e-2)
    assert np.isfinite(first)

    with ocp.StandardCheckpointer() as saver:
        saver.save(tmp_path / "state", nnx.state(small))
        saver.wait_until_finished()
        other = make(nnx.Rngs(1))
        other, _ = convert_module(other, plan.structures, SEQUENCE, in_place=in_place)
        nnx.update(other, saver.restore(tmp_path / "state", nnx.state(other)))
    np.testing.assert_array_equal(run(other), run(small))


def _at(tree, path):
    for key in path.split("/"):
        tree = tree[key]
    return tree


def test_a_stack_along_another_axis_is_run_on_factors_and_not_replaced_in_place():
    model, structures = Mapped(nnx.Rngs(0), axis=1), {"each": "2:4x4*4x3"}
    (layer,) = (its for its in find_layers(model, None, SEQUENCE).values() if its.stack_shape)
    assert layer.axes.stack == (1,)
    small, _ = convert_module(model, structures, SEQUENCE)
    np.testing.assert_allclose(small(SEQUENCE), small.to_dense()(SEQUENCE), atol=1e-5)
    message = message_of(convert_module, model, structures, SEQUENCE, in_place=True)
    assert "'each' are stacked along axis 1" in message
    assert not isinstance(model.each, KFCLinear)
