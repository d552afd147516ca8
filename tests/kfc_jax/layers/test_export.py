"""Layers as functions that are exported, written, read and run without the library's code."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from kfc_jax import BlockDiagonalDense, KFCDense, LowRankDense

PLATFORMS = ("cpu", "cuda", "tpu")
LAYERS = [
    pytest.param(KFCDense(64, structure="4:8x8*8x8"), id="kfc"),
    pytest.param(KFCDense(62, structure="4:8x8*8x8@64x62"), id="padded"),
    pytest.param(KFCDense(64, structure="2:4x4*4x4*4x4+1:64x64"), id="two terms"),
    pytest.param(LowRankDense(64, rank=3), id="low rank"),
    pytest.param(BlockDiagonalDense(64, structure="blocks 2"), id="blocks"),
]
LARGE = KFCDense(4096, structure="16:64x64*64x64")  # a CPU goes through it in chunks


def arguments(layer, batch):
    x = jax.ShapeDtypeStruct((batch, 64), jnp.float32)
    return jax.eval_shape(layer.init, jax.random.key(0), x), x


def loss(function, variables, x):
    return jnp.sum(jnp.sin(function(variables, x)))


def derivatives(function, order, *args):
    """The gradients; and of their sum of squares, too, if that is what is asked for."""
    gradient = jax.grad(functools.partial(loss, function), argnums=(0, 1))
    if order == 1:
        return gradient(*args)
    squares = lambda *args: sum(jnp.sum(g**2) for g in jax.tree.leaves(gradient(*args)))  # noqa: E731
    return gradient(*args), jax.grad(squares, argnums=(0, 1))(*args)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("batch", ["b", "7"])
def test_a_layer_is_read_back_with_its_derivatives(layer, order, batch):
    pytest.importorskip("flatbuffers")
    (size,) = export.symbolic_shape(batch)
    exported = export.export(jax.jit(layer.apply), platforms=PLATFORMS)(*arguments(layer, size))
    again = export.deserialize(exported.serialize(vjp_order=order))
    assert again.platforms == PLATFORMS
    variables = layer.init(jax.random.key(0), jnp.ones((1, 64)))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((7, 64)), jnp.float32)
    close(again.call(variables, x), layer.apply(variables, x))
    found, expected = (derivatives(f, order, variables, x) for f in (again.call, layer.apply))
    jax.tree.map(close, found, expected)


def close(found, expected):
    assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


def programs_in(text):
    """Returns the parts of every choice in a program, as lists of the operations in each."""
    found = re.findall(r'"stablehlo.case"\(%[^)]*\) \(\{(.*?)\n *\}\) :', text, re.DOTALL)
    return [
        [re.findall(r"stablehlo\.(\w+)", part) for part in re.split(r"\n *\}, \{\n", case)]
        for case in found
    ]


@pytest.mark.parametrize("what", ["forward", "gradient"])
def test_an_export_for_one_platform_holds_the_plan_of_no_other(what):
    function = jax.jit(
        LARGE.apply
        if what == "forward"
        else jax.grad(functools.partial(loss, LARGE.apply), argnums=(0, 1))
    )
    x = jax.ShapeDtypeStruct((256, 4096), jnp.float32)
    variables = jax.eval_shape(LARGE.init, jax.random.key(0), x)
    texts = {}
    for platform in PLATFORMS:
        texts[platform] = export.export(function, platforms=[platform])(variables, x).mlir_module()
        for case in programs_in(texts[platform]):
            # JAX writes a choice among numbers of plans, and one with the one plan that is left.
            assert len(case) == 1 or all(set(part) <= {"constant", "return"} for part in case)
    assert "stablehlo.while" in texts["cpu"]
    assert not any("stablehlo.while" in texts[platform] for platform in ("cuda", "tpu"))


def test_platforms_with_the_same_plan_share_it():
    x = jax.ShapeDtypeStruct((256, 4096), jnp.float32)
    variables = jax.eval_shape(LARGE.init, jax.random.key(0), x)
    both, one = (
        export.export(jax.jit(LARGE.apply), platforms=platforms)(variables, x).mlir_module()
        for platforms in (("cuda", "tpu"), ("cuda",))
    )
    # Of products JAX has a choice of its own, so that what else a plan does is counted.
    layouts = [len(re.findall(r"= stablehlo\.transpose", text)) for text in (both, one)]
    assert layouts == [2, 2]
