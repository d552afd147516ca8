"""The rule for a table's factors: rows that are looked up move as those of a dense table do."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import kfc_jax
from kfc_jax.nnx import KFCEmbed, KFCLinear
from tests.kfc_jax.reference import key

TOKENS = 64
SIZE = (960, 128)
STRUCTURES = ["8:30x8*32x16", "2:30x16*32x8", "32:30x8*32x16", "4:10x4*8x4*12x8"]


STEPS = {"adam": (optax.scale_by_adam, "sign", 1e-3), "sgd": (optax.identity, "gradient", 0.1)}


class Model(nn.Module):
    """A table alone, at a path of its own."""

    structure: str | None

    def setup(self):
        if self.structure is None:
            self.table = nn.Embed(*SIZE)
        else:
            self.table = kfc_jax.KFCEmbed(*SIZE, structure=self.structure)

    def __call__(self, x):
        return self.table(x)

    def attend(self, x):
        return self.table.attend(x)


@functools.cache
def moved(structure, method, name, *, is_told):
    """Root-mean-square change of the output after one and ten steps."""
    rng = np.random.default_rng(0)
    is_lookup = method == "__call__"
    if is_lookup:
        x = rng.integers(0, SIZE[0], TOKENS)
    else:
        x = rng.standard_normal((TOKENS, SIZE[1]), np.float32)
    of_outputs = rng.standard_normal((TOKENS, SIZE[is_lookup]), np.float32)
    make, update, rate = STEPS[name]
    tables = ["table"] if is_told else []
    rule = kfc_jax.scale_factor_updates(1.0, update=update, tables=tables)
    chain = optax.chain(make(), rule if structure else optax.identity(), optax.scale(-rate))
    model = Model(structure)
    params = jax.jit(model.init)(key(0), jnp.zeros(1, int))["params"]

    @jax.jit
    def ten_steps(params, state):
        def outputs(p):
            return model.apply({"params": p}, x, method=method)

        def step(carry, _):
            p, state = carry
            gradients = jax.grad(lambda p: jnp.mean(jnp.sum(outputs(p) * of_outputs, -1)))(p)
            updates, state = chain.update(gradients, state, p)
            p = optax.apply_updates(p, updates)
            return (p, state), jnp.sqrt(jnp.mean((outputs(p) - outputs(params)) ** 2))

        return jax.lax.scan(step, (params, state), None, length=10)[1]

    return np.asarray(ten_steps(params, chain.init(params)))[[0, 9]]


def relative_movement(text, method, name, *, is_told=True):
    of_factors = moved(text, method, name, is_told=is_told)
    return of_factors / moved(None, method, name, is_told=False)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("text", STRUCTURES)
def test_rows_that_are_looked_up_move_as_far_as_a_dense_tables(text, name):
    ratios = relative_movement(text, "__call__", name)
    assert np.all((ratios > 0.5) & (ratios < 2)), ratios


def test_a_table_that_is_not_told_moves_too_far():
    ratios = relative_movement(STRUCTURES[0], "__call__", "adam", is_told=False)
    assert np.all(ratios > 3), ratios


@pytest.mark.parametrize("text", STRUCTURES)
def test_as_a_classifier_a_table_moves_no_farther_than_a_dense_one(text):
    ratios = relative_movement(text, "attend", "adam")
    assert np.all((ratios > 0.4) & (ratios < 1)), ratios


def test_tables_are_found_by_patterns_in_linen_and_nnx_and_other_layers_stay():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.table = KFCEmbed(*SIZE, structure=STRUCTURES[0], rngs=rngs)
            self.fc = KFCLinear(128, 64, structure="4:8x8*16x8", rngs=rngs)

    net = Net(nnx.Rngs(0))
    params = nnx.to_pure_dict(nnx.state(net, nnx.Param))
    plain, told = (kfc_jax.factor_multipliers(params, tables=t) for t in ([], ["*table"]))
    assert plain["fc"] == told["fc"]
    alone = kfc_jax.factor_multipliers({"table": params["table"]}, tables=["table"])
    for name, multiplier in told["table"].items():
        assert multiplier == alone["table"][name] < plain["table"][name]

    transform = kfc_jax.scale_factor_updates(1.0, tables=["*table"])
    chain = optax.chain(optax.scale_by_adam(), transform, optax.scale(-1e-3))
    optimizer = nnx.Optimizer(net, chain, wrt=nnx.Param)
    gradients = nnx.grad(lambda net: jnp.mean(net.fc(net.table(jnp.arange(32))) ** 2))(net)
    before = params["table"]["kernel_0_0"]
    optimizer.update(net, gradients)
    largest = jnp.abs(net.table.kernel_0_0[...] - before).max()
    np.testing.assert_allclose(largest, 1e-3 * told["table"]["kernel_0_0"], rtol=1e-2)


def test_a_low_rank_table_has_the_rule_too():
    params = {"table": {"kernel_u": jnp.ones((960, 4)), "kernel_v": jnp.ones((4, 128))}}
    found = kfc_jax.factor_multipliers(params, tables=["table"])["table"]
    # Rows of their own against columns that all tokens share.
    assert 0 < found["kernel_v"] < 1
    assert 0 < found["kernel_u"] < 1


REFUSED = {
    "No table 'tabel' is stored as factors; the layers that are: table": {"tables": ["tabel"]},
    "give a list of paths": {"tables": "table"},
    "no rule for tables under update='relative'": {"tables": ["table"], "update": "relative"},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_no_table_or_has_no_rule_is_told(message):
    params = {"table": {"kernel_0_0": jnp.ones((2, 8, 4)), "kernel_0_1": jnp.ones((2, 8, 4))}}
    with pytest.raises(ValueError, match=re.escape(message)):
        kfc_jax.factor_multipliers(params, **REFUSED[message])
    with pytest.raises(ValueError, match=re.escape(message)):
        kfc_jax.scale_factor_updates(**REFUSED[message]).init(params)
