"""Boxes and containers of parameters come back as they were, with names for the factors' axes."""

import dataclasses
from typing import Any, NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict
from flax.core.meta import AxisMetadata
from jax.sharding import PartitionSpec

from kfc_jax import (
    CompressedModel,
    CompressionPlan,
    KFCDense,
    convert,
    find_layers,
    plan_compression,
    to_dense,
)
from tests.kfc_jax.reference import message_of
from tests.kfc_jax.stock_models import SEQUENCE

STRUCTURE = "2:4x4*4x6"
named = {"mesh": nn.with_partitioning, "logical": nn.with_logical_partitioning}


class Net(nn.Module):
    """Layers whose parameters are in boxes: a table, attention, a stack, one without a box."""

    box: Any

    @nn.compact
    def __call__(self, tokens):
        init = nn.initializers.lecun_normal()
        x = nn.Embed(12, 16, embedding_init=self.box(init, ("vocab", "embed")))(tokens)
        x = nn.MultiHeadDotProductAttention(
            4,
            kernel_init=self.box(init, ("embed", "heads", "kv")),
            out_kernel_init=self.box(init, ("heads", "kv", "embed")),
        )(x)
        stack = nn.scan(
            lambda layer, x, _: (layer(x), None),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=3,
            metadata_params={nn.meta.PARTITION_NAME: "layers"},
        )
        names = {"kernel_init": self.box(init, ("embed", "mlp"))}
        names["bias_init"] = self.box(nn.initializers.zeros, ("mlp",))
        x = stack(nn.Dense(16, name="stack", **names), x, None)[0]
        return nn.Dense(24, name="plain")(nn.Dense(24, name="fc", **names)(x))


TOKENS = jnp.arange(6).reshape(2, 3)
STRUCTURES = {
    "Embed_0": "2:4x4*3x4",
    "MultiHeadDotProductAttention_0/query": "rank 3",
    "MultiHeadDotProductAttention_0/out": "2:4x4*4x4",
    "stack": "2:4x4*4x4",
    "fc": STRUCTURE,
    "plain": "2:4x4*6x6",
}


def names_in(tree):
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.names
        for path, leaf in jax.tree_util.tree_leaves_with_path(
            tree, is_leaf=lambda leaf: isinstance(leaf, AxisMetadata)
        )
        if isinstance(leaf, AxisMetadata)
    }


@pytest.mark.parametrize("kind", named)
def test_boxes_are_put_around_factors_and_around_kernels_again(kind):
    model = Net(named[kind])
    variables = jax.jit(model.init)(jax.random.key(0), TOKENS)
    layers = find_layers(model, variables, TOKENS)
    plan = plan_compression(layers, 1.0, structures={**STRUCTURES, "**": "dense"})
    params, _ = convert(layers, plan)
    names = names_in(params)
    assert names["fc/kernel_0_0"] == (None, "embed", "mlp")
    assert names["fc/kernel_0_1"] == (None, None, None)
    assert names["fc/bias"] == ("mlp",)
    assert names["stack/kernel_0_0"] == ("layers", None, "embed", "mlp")
    assert names["stack/bias"] == ("layers", "mlp")
    assert names["MultiHeadDotProductAttention_0/query/kernel_u"] == ("embed", None)
    assert names["MultiHeadDotProductAttention_0/query/kernel_v"] == (None, "heads")
    assert names["MultiHeadDotProductAttention_0/out/kernel_0_0"] == (None, "heads", "embed")
    assert names["Embed_0/kernel_0_0"] == (None, "vocab", "embed")
    assert not any(path.startswith("plain") for path in names)
    assert type(params["fc"]["kernel_0_0"]) is type(variables["params"]["fc"]["kernel"])

    # As the layer itself names them, and as a new model does.
    init = named[kind](nn.initializers.lecun_normal(), ("embed", "mlp"))
    layer = KFCDense(24, structure=STRUCTURE, kernel_init=init)
    made = names_in(jax.eval_shape(layer.init, jax.random.key(0), jnp.ones((1, 16)))["params"])
    assert made == {n: names[f"fc/{n}"] for n in ("kernel_0_0", "kernel_0_1")}
    small = CompressedModel(model, plan)
    assert names_in(jax.eval_shape(small.init, jax.random.key(0), TOKENS)["params"]) == names

    again = CompressionPlan.from_json(plan.to_json())
    assert again == plan
    dense = to_dense(params, again)
    assert names_in(dense) == names_in(variables["params"])
    assert jax.tree.structure(dense) == jax.tree.structure(variables["params"])
    both = params, nn.unbox(params)
    run = jax.jit(lambda trees: [small.apply({"params": params}, TOKENS) for params in trees])
    outputs, of_unboxed = run(both)
    np.testing.assert_array_equal(outputs, of_unboxed)
    expected = jax.jit(model.apply)({"params": dense}, TOKENS)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_without_a_plan_a_matrix_gets_its_names_back():
    model = nn.Dense(24, kernel_init=nn.with_partitioning(nn.initializers.ones, ("a", "b")))
    params = model.init(jax.random.key(0), jnp.ones((1, 16)))["params"]
    for text in (STRUCTURE, "rank 2", "blocks 4"):
        factors, _ = convert(params, {"": text})
        assert names_in(to_dense(factors, {"": text})) == {"kernel": ("a", "b")}
    specs = nn.get_partition_spec(convert(params, {"": "rank 2"})[0])
    assert specs["kernel_u"] == PartitionSpec("a", None)


def test_a_box_without_names_is_told():
    class Box(flax.struct.PyTreeNode, AxisMetadata):
        value: Any

        def unbox(self):
            return self.value

        def replace_boxed(self, value):
            return Box(value)

        def add_axis(self, index, params):
            return self

        def remove_axis(self, index, params):
            return self

    boxed = {"fc": {"kernel": Box(jnp.ones((6, 4)))}}
    assert "in a Box box, which has no names" in message_of(convert, boxed, {"fc": "rank 1"})
    assert isinstance(convert(boxed, {"fc": "dense"})[0]["fc"]["kernel"], Box)


class Pair(NamedTuple):
    first: Any
    second: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    kernel: Any
    bias: Any


@flax.struct.dataclass
class Head:
    kernel: Any


def test_containers_of_parameters_stay_of_their_types():
    def run(params, x):
        (first, second), pair, layer = params["tuple"], params["pair"], params["layer"]
        for kernel in (first, second, *params["list"], pair.first, pair.second, layer.kernel):
            x = jnp.tanh(x @ kernel)
        return (x + layer.bias) @ params["head"].kernel @ params["frozen"]["fc"]["kernel"]

    rng = np.random.default_rng(0)
    kernels = [jnp.asarray(rng.normal(size=(16, 16)), jnp.float32) for _ in range(8)]
    params = {
        "tuple": (kernels[0], kernels[1]),
        "list": [kernels[2]],
        "pair": Pair(kernels[3], kernels[4]),
        "layer": Layer(kernels[5], jnp.ones(16)),
        "head": Head(kernels[6]),
        "frozen": FrozenDict({"fc": {"kernel": kernels[7]}}),
        "empty": (None, ()),
    }
    structures = {"pair/second": "dense", "**": "2:4x4*4x4"}
    layers = find_layers(run, params, SEQUENCE)
    paths = ["frozen/fc", "head/kernel", "layer/kernel", "list/0", "pair/first", "pair/second"]
    assert sorted(layers) == [*paths, "tuple/0", "tuple/1"]
    plan = plan_compression(layers, 1.0, structures=structures)
    new, _ = convert(layers, plan)
    factors = {"kernel_0_0", "kernel_0_1"}
    assert isinstance(new["tuple"], tuple)
    assert isinstance(new["list"], list)
    assert isinstance(new["pair"], Pair)
    assert new["pair"].second is kernels[4]
    assert isinstance(new["frozen"], FrozenDict)
    held = (new["pair"].first, new["layer"].kernel, new["head"].kernel, new["tuple"][1])
    assert all(each.keys() == factors for each in held)
    assert new["frozen"]["fc"].keys() == factors
    assert new["empty"] == (None, ())
    dense = to_dense(new, plan)
    assert jax.tree.structure(dense) == jax.tree.structure(params)
