"""A coordinate check of every optimizer that the documents name: outputs move as a dense layer's.

Fixed random inputs, a fixed random gradient of every example's output, and how far one and ten
steps move the output, relative to the dense layer. Without the rule, or with another one, they move
it otherwise.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kfc_jax
from kfc_jax.layers import layer_for, muon_dimension_numbers
from kfc_jax.structures import read_layer_structure
from tests.kfc_jax.reference import key

BATCH = 64


def muon(rate):
    return optax.contrib.muon(rate, muon_weight_dimension_numbers=muon_dimension_numbers)


def by_base(wrap, base):
    """An optimizer whose rule stands in the base that it wraps."""
    return lambda rate, rule: wrap(optax.chain(base(rate), rule), rate)


def then_rule(make):
    return lambda rate, rule: optax.chain(make(rate), rule)


def trust_ratio_of_gradients(rate):
    return optax.chain(optax.scale_by_trust_ratio(), optax.scale_by_learning_rate(rate))


# The optimizer with a rule, what its steps are like, and a rate that moves outputs by a tenth.
STEPS = {
    "sgd": (then_rule(optax.sgd), "gradient", 0.02 * BATCH),
    "momentum": (then_rule(lambda r: optax.sgd(r, 0.9, nesterov=True)), "gradient", 0.004 * BATCH),
    "adam": (then_rule(optax.adam), "sign", 0.1),
    "rmsprop": (then_rule(optax.rmsprop), "sign", 0.02),
    "lion": (then_rule(lambda r: optax.lion(r, weight_decay=0)), "sign", 0.1),
    "adafactor": (then_rule(optax.adafactor), "relative", 0.1),
    "adafactor, steps of its rate": (
        then_rule(lambda r: optax.adafactor(r, multiply_by_parameter_scale=False)),
        "sign",
        0.1,
    ),
    "lamb": (then_rule(optax.lamb), "relative", 0.1),
    "lars": (then_rule(trust_ratio_of_gradients), "relative", 0.1),
    "muon": (then_rule(muon), "orthogonal", 0.2),
    "schedule_free": (
        by_base(
            lambda base, rate: optax.contrib.schedule_free(base, rate, b1=0.9),
            lambda rate: optax.chain(optax.scale_by_rms(), optax.scale_by_learning_rate(rate)),
        ),
        "sign",
        0.02,
    ),
    "MultiSteps": (
        by_base(lambda base, rate: optax.MultiSteps(base, 2).gradient_transformation(), optax.adam),
        "sign",
        0.1,
    ),
}
SIZES = ["2:16x16*64x32", "16:16x16*16x32", "4:8x8*8x8", "2:8x8*8x8*16x8", "rank 3", "rank 32"]
FIRST = SIZES[0]


def layer_of(text):
    """Returns a layer without a bias, and its inputs; 512 to 256 where the text says no size."""
    size = (512, 256)
    if ":" in text:
        structure = kfc_jax.KroneckerStructure.parse(text)
        size = (structure.inputs, structure.features)
    structure = read_layer_structure(text, *size)
    return layer_for(structure, size[1], use_bias=False), size[0]


@functools.cache
def moved(layer, inputs, name, update):
    """Root-mean-square change of the output after one step, or two half ones, and after ten."""
    rng = np.random.default_rng(0)
    x, output_gradients = (
        rng.standard_normal((BATCH, size), np.float32) for size in (inputs, layer.features)
    )
    params = jax.jit(layer.init)(key(0), x[:1])["params"]
    make, _, rate = STEPS[name]
    rate /= inputs if STEPS[name][1] in ("sign", "gradient") else np.sqrt(inputs)
    rule = optax.identity() if update is None else kfc_jax.scale_factor_updates(1, update=update)
    optimizer = make(rate, rule)

    @jax.jit
    def ten_steps(params, state, x, output_gradients):
        def outputs(p):
            return layer.apply({"params": p}, x)

        def loss(p):
            return jnp.mean(jnp.sum(outputs(p) * output_gradients, -1))

        def step(carry, _):
            p, state = carry
            updates, state = optimizer.update(jax.grad(loss)(p), state, p)
            p = optax.apply_updates(p, updates)
            return (p, state), jnp.sqrt(jnp.mean((outputs(p) - outputs(params)) ** 2))

        return jax.lax.scan(step, (params, state), None, length=10)[1]

    changes = ten_steps(params, optimizer.init(params), x, output_gradients)
    return np.asarray(changes)[[1 if name == "MultiSteps" else 0, 9]]


def relative_movement(name, text, update):
    layer, inputs = layer_of(text)
    dense = nn.Dense(layer.features, use_bias=False)
    return moved(layer, inputs, name, update) / moved(dense, inputs, name, None)


# All sizes with Adam; each other optimizer with two of them, each size with several optimizers.
CASES = [
    (name, text)
    for i, name in enumerate(STEPS)
    for j, text in enumerate(SIZES)
    if name == "adam" or (i + j) % 3 == 0
]


@pytest.mark.parametrize(("name", "text"), CASES)
def test_outputs_move_as_far_as_a_dense_layers(name, text):
    ratios = relative_movement(name, text, STEPS[name][1])
    assert np.all((ratios > 0.5) & (ratios < 2)), ratios


@pytest.mark.parametrize("name", STEPS)
def test_without_its_own_rule_outputs_move_too_little_or_too_far(name):
    """Without any, where it is that of Adam, and with that of Adam, where it is another."""
    own = STEPS[name][1]
    ratios = relative_movement(name, FIRST, None if own == "sign" else "sign")
    assert np.all((ratios < 0.5) | (ratios > 2)), ratios


def test_relative_steps_share_one_multiplier():
    layer, inputs = layer_of("8:16x16*64x32")
    params = layer.init(key(0), jnp.ones((1, inputs)))["params"]
    multipliers = kfc_jax.factor_multipliers(params, update="relative")
    np.testing.assert_allclose(multipliers["kernel_0_0"], multipliers["kernel_0_1"], rtol=1e-5)


@pytest.mark.parametrize("update", ["sign", "gradient", "relative", "orthogonal"])
def test_a_single_factor_is_a_dense_kernel(update):
    layer, inputs = layer_of("1:96x128")
    params = layer.init(key(0), jnp.ones((1, inputs)))["params"]
    (multiplier,) = jax.tree.leaves(kfc_jax.factor_multipliers(params, update=update))
    assert multiplier == pytest.approx(1, rel=1e-5)


def test_muon_takes_every_matrix_of_a_factor_for_one():
    shapes = {
        "fc": {"kernel_0_0": (4, 16, 20), "kernel_0_1": (4, 50, 25), "bias": (500,)},
        "stack": {"kernel_0_0": (3, 4, 16, 20)},
        "blocks": {"kernel_blocks": (4, 25, 5)},
        "thin": {"kernel_u": (20, 3), "kernel_v": (3, 10)},
        "conv": {"kernel": (3, 3, 8, 16), "bias": (16,)},
        "conv1d": {"kernel": (3, 8, 16)},
        "out": {"kernel": (10, 5)},
    }
    params = jax.tree.map(jnp.zeros, shapes, is_leaf=lambda s: isinstance(s, tuple))
    numbers = muon_dimension_numbers(params)
    assert numbers == {
        "fc": {"kernel_0_0": (1, 2), "kernel_0_1": (1, 2), "bias": None},
        "stack": {"kernel_0_0": (2, 3)},
        "blocks": {"kernel_blocks": (1, 2)},
        "thin": {"kernel_u": (0, 1), "kernel_v": (0, 1)},
        "conv": {"kernel": None, "bias": None},
        "conv1d": {"kernel": None},
        "out": {"kernel": (0, 1)},
    }
    # Muon agrees: it moves all of these by matrices of singular values about 1, and Adam the rest.
    del params["stack"]
    gradients = jax.tree.map(
        lambda p: jnp.asarray(np.random.default_rng(0).standard_normal(p.shape), jnp.float32),
        params,
    )
    optimizer = muon(1.0)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    for update in (updates["fc"]["kernel_0_1"], updates["blocks"]["kernel_blocks"]):
        values = np.linalg.svd(update, compute_uv=False)
        assert np.all((values > 0.5) & (values < 1.5))
    size = np.abs(updates["conv1d"]["kernel"])
    np.testing.assert_allclose(size, size.max(), rtol=1e-2)  # as Adam's first step


def distance_of_prodigy(layer, inputs, rule):
    """Prodigy's estimate of how far parameters are from their best, after 20 steps."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((256, inputs), np.float32)
    y = x @ rng.standard_normal((inputs, layer.features), np.float32) / np.sqrt(inputs)
    params = layer.init(key(0), x[:1])["params"]
    optimizer = optax.chain(optax.contrib.prodigy(1.0), rule)

    @jax.jit
    def train(params, state, x, y):
        def loss(p):
            return jnp.mean((layer.apply({"params": p}, x) - y) ** 2)

        def step(carry, _):
            p, state = carry
            updates, state = optimizer.update(jax.grad(loss)(p), state, p)
            return (optax.apply_updates(p, updates), state), None

        return jax.lax.scan(step, (params, state), None, length=20)[0][1]

    return train(params, optimizer.init(params), x, y)[0].estim_lr


def test_prodigy_has_no_rule_as_multipliers_falsify_its_estimate():
    layer, inputs = layer_of("2:16x16*32x16")
    dense = distance_of_prodigy(nn.Dense(256, use_bias=False), inputs, optax.identity())
    assert distance_of_prodigy(layer, inputs, optax.identity()) == pytest.approx(dense, rel=0.5)
    assert distance_of_prodigy(layer, inputs, kfc_jax.scale_factor_updates(1)) > 10 * dense
