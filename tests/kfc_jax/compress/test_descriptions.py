"""Parameters that are described, as `jax.eval_shape` does, and where their numbers are needed."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from kfc_jax import (
    CompressedModel,
    convert,
    find_layers,
    input_statistics,
    plan_compression,
    to_dense,
)
from kfc_jax.compress import convert_module, reorder_units
from tests.kfc_jax.reference import message_of

MODEL, X = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(10)]), jnp.ones((8, 48))
STRUCTURES = {"layers_0": "2:6x8*8x8"}


def described(model=MODEL):
    return jax.eval_shape(model.init, jax.random.key(0), X)


def net():
    make = functools.partial(nnx.Linear, rngs=nnx.Rngs(0))
    return nnx.Sequential(make(48, 64), nnx.relu, make(64, 10))


def test_layers_are_found_in_a_model_that_is_only_described():
    layers = find_layers(MODEL, described(), X)
    sizes = [(48, 64), (64, 10)]
    assert [layer.size for layer in layers.values()] == sizes
    assert [its.size for its in find_layers(nnx.eval_shape(net), None, X).values()] == sizes
    small = described(CompressedModel(MODEL, STRUCTURES))
    assert jnp.shape(small["params"]["layers_0"]["kernel_0_0"]) == (2, 6, 8)
    back = jax.eval_shape(lambda params: to_dense(params, STRUCTURES), small["params"])
    assert back == described()["params"]


DEMANDS = {
    "plan": lambda layers: plan_compression(layers, 0.5),
    "plan_of_names": lambda layers: plan_compression(layers.params, 0.5),
    "convert": lambda layers: convert(layers, STRUCTURES),
    "reorder": lambda layers: reorder_units(layers, STRUCTURES),
    "statistics": lambda layers: input_statistics(MODEL, layers.variables, [X]),
    "to_dense": lambda _: to_dense(
        described(CompressedModel(MODEL, STRUCTURES))["params"], STRUCTURES
    ),
    "nnx_statistics": lambda _: input_statistics(nnx.eval_shape(net), None, [X]),
    "nnx_convert": lambda _: convert_module(nnx.eval_shape(net), {"layers/0": "rank 3"}, X),
}


@pytest.mark.parametrize("demand", DEMANDS)
def test_what_needs_numbers_says_so(demand):
    message = message_of(DEMANDS[demand], find_layers(MODEL, described(), X))
    assert "without numbers, which is enough for find_layers alone: give the trained" in message
