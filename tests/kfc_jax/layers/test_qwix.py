"""Qwix quantises factors and adapts them as it does the kernel of `nn.Dense`."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kfc_jax import BlockDiagonalDense, KFCDense, LowRankDense
from tests.kfc_jax.reference import unchecked

qwix = pytest.importorskip("qwix")
pytestmark = pytest.mark.filterwarnings("ignore:'VariableState':DeprecationWarning")  # its own

LAYERS = [
    functools.partial(KFCDense, structure="2:4x2*4x6"),
    functools.partial(KFCDense, structure="2:4x4*4x3+1:16x12"),
    functools.partial(KFCDense, structure="1:16x12"),
    functools.partial(LowRankDense, rank=3),
    functools.partial(BlockDiagonalDense, structure="blocks 4"),
]
each = pytest.mark.parametrize("make", LAYERS)
X = jnp.asarray(np.random.default_rng(0).standard_normal((32, 16)), jnp.float32)


@pytest.fixture(autouse=True)
def without_checks():
    """Its arrays are no arrays of JAX, to those who check."""
    with unchecked():
        yield


@each
@pytest.mark.parametrize("wrap", [jax.jit, lambda function: function])
def test_every_factor_is_in_eight_bits_and_its_bias_is_not(make, wrap):
    layer = make(12)
    params = layer.init(jax.random.key(1), X)["params"]
    rules = [qwix.QuantizationRule(module_path=".*", weight_qtype=jnp.int8, act_qtype=jnp.int8)]
    quantized = qwix.quantize_model(layer, qwix.PtqProvider(rules))
    shapes = jax.eval_shape(quantized.init, jax.random.key(1), X)["params"]
    small = qwix.quantize_params(params, shapes)
    for name, leaf in small.items():
        types = {str(array.dtype) for array in jax.tree.leaves(leaf)}
        assert types == ({"float32"} if name == "bias" else {"float32", "int8"})  # with scales
    expected = layer.apply({"params": params}, X)
    found = wrap(quantized.apply)({"params": small}, X)
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert 1e-4 < error < 0.03
    # Nothing of it stays behind.
    np.testing.assert_allclose(layer.apply({"params": params}, X), expected, rtol=1e-6)


@each
def test_every_factor_gets_an_adapter(make):
    layer = make(12)
    adapted = qwix.apply_lora_to_model(
        layer, qwix.LoraProvider(module_path=".*", rank=2, alpha=1.0)
    )
    params = nn.unbox(adapted.init(jax.random.key(1), X))["params"]
    kernels = {name for name in params if name.startswith("kernel") and "_lora_" not in name}
    assert kernels == set(layer.init(jax.random.key(1), X)["params"]) - {"bias"}
    assert all({f"{name}_lora_a", f"{name}_lora_b"} <= params.keys() for name in kernels)
