import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx, serialization
from flax.core import freeze

import kfc_jax
from kfc_jax import KFCDense, KroneckerStructure, LowRankDense
from tests.kfc_jax.reference import dense_kernel, key, message_of

ADAM = optax.scale_by_adam()
SGD = optax.identity()
BATCH = 64


def make_layer(text):
    """Returns a layer and its inputs, of '1024x512 low rank 3' or of a structure's text."""
    size, low, rank = text.partition(" low rank ")
    structure = KroneckerStructure.parse(size)
    if low:
        return LowRankDense(structure.features, rank=int(rank), use_bias=False), structure.inputs
    return KFCDense(structure.features, structure=structure, use_bias=False), structure.inputs


@functools.cache
def initial_params(layer, inputs):
    return jax.jit(layer.init)(key(0), jnp.ones((1, inputs)))["params"]


def params_of(text):
    return initial_params(*make_layer(text))


# A coordinate check: fixed random inputs, a fixed random gradient of every example's output, and
# how far ten steps at the dense layer's learning rate move the output.


@functools.partial(jax.jit, static_argnames=("layer", "direction"))
def movement(layer, direction, rate, params, multipliers, x, output_gradients):
    """Root-mean-square change of the output after each of ten steps."""

    def outputs(p):
        return layer.apply({"params": p}, x)

    def loss(p):
        return jnp.mean(jnp.sum(outputs(p) * output_gradients, -1))

    def step(carry, _):
        p, state = carry
        updates, state = direction.update(jax.grad(loss)(p), state, p)
        p = jax.tree.map(lambda w, u, f: w - rate * f * u, p, updates, multipliers)
        return (p, state), jnp.sqrt(jnp.mean((outputs(p) - start) ** 2))

    start = outputs(params)
    return jax.lax.scan(step, (params, direction.init(params)), None, length=10)[1]


@functools.cache
def moved_after_one_and_ten_steps(layer, inputs, update, with_multipliers):
    rng = np.random.default_rng(0)
    shapes = (BATCH, inputs), (BATCH, layer.features)
    x, output_gradients = (rng.standard_normal(shape, np.float32) for shape in shapes)
    # Small enough that the output moves by about a tenth of its size in ten steps.
    rate = (0.1 if update == "sign" else 0.02 * BATCH) / inputs
    params = initial_params(layer, inputs)
    multipliers = jax.tree.map(lambda _: jnp.ones(()), params)
    if with_multipliers:
        multipliers = kfc_jax.factor_multipliers(params, update=update)
    direction = ADAM if update == "sign" else SGD
    moved = movement(layer, direction, rate, params, multipliers, x, output_gradients)
    return np.asarray(moved)[[0, 9]]


def relative_movement(text, update="sign", with_multipliers=True):
    """The layer's movement after one and ten steps, relative to the dense layer's."""
    layer, inputs = make_layer(text)
    dense = nn.Dense(layer.features, use_bias=False)
    return moved_after_one_and_ten_steps(
        layer, inputs, update, with_multipliers
    ) / moved_after_one_and_ten_steps(dense, inputs, update, False)


SLOWED = [  # without multipliers these move less than half as far as a dense layer
    "1:8x8*8x8",
    "2:4x4*4x4*4x4",
    "2:16x16*64x32",
    "16:16x16*64x32",
    "64:8x8*8x8*16x8",
    "8:16x16*64x32+2:8x8*8x8*16x8",
    "2:32x2*32x5",
    "4:16x4*16x4*16x4",
    "64:64x64*64x16",
    "1024x512 low rank 1",
    "1024x512 low rank 3",
]
OTHERS = [
    "64x64",
    "64:8x8*8x8",
    "2:1x32*1024x16",
    "2:1x64*64x64",
    "64x64 low rank 64",
    "1024x512 low rank 64",
]


@pytest.mark.parametrize("text", SLOWED + OTHERS)
def test_output_moves_as_far_as_a_dense_layers(text):
    ratios = relative_movement(text)
    assert np.all((ratios > 0.5) & (ratios < 2)), ratios


@pytest.mark.parametrize("text", SLOWED)
def test_without_multipliers_output_moves_less_than_half_as_far(text):
    ratios = relative_movement(text, with_multipliers=False)
    assert np.all(ratios < 0.5), ratios


@pytest.mark.parametrize("text", ["2:16x16*64x32", "64:8x8*8x8*16x8", "2:1x32*1024x16"])
def test_plain_gradient_steps_have_their_own_rule(text):
    ratios = relative_movement(text, update="gradient")
    assert np.all((ratios > 0.5) & (ratios < 2)), ratios
    wrong = relative_movement(text, update="gradient", with_multipliers=False)
    assert np.all((wrong < 0.5) | (wrong > 2)), wrong


def test_factors_change_by_equal_fractions_of_their_scale():
    params = params_of("8:16x16*64x32+2:8x8*8x8*16x8")
    multipliers = kfc_jax.factor_multipliers(params)
    fractions = [multipliers[name] / np.sqrt(np.mean(params[name] ** 2)) for name in params]
    np.testing.assert_allclose(fractions, fractions[0], rtol=1e-5)


@pytest.mark.parametrize("update", ["sign", "gradient"])
@pytest.mark.parametrize("text", ["2:4x4*4x4*4x4", "1024x512 low rank 3"])
def test_moving_scale_between_factors_leaves_the_kernels_step_as_it_is(text, update):
    params = params_of(text)
    first, *middle, last = sorted(params)
    moved = {**params, first: params[first] * 1000, last: params[last] / 1000}
    before, after = (kfc_jax.factor_multipliers(p, update=update) for p in (params, moved))
    # A factor that is c times as large has a gradient that is 1 / c times as large.
    power = 1 if update == "sign" else 2
    expected = {**before, first: before[first] * 1000**power, last: before[last] / 1000**power}
    for name in (first, *middle, last):
        np.testing.assert_allclose(after[name], expected[name], rtol=1e-4)


def test_factors_of_another_scale_than_the_initial_one_move_the_output_alike():
    # As after a decomposition: the kernel 9 times as large, and all in one of two products.
    params = params_of("2:16x16*64x32")
    grown = {name: 3 * array.at[1].multiply(0.1) for name, array in params.items()}
    before, after = (kfc_jax.factor_multipliers(p) for p in (params, grown))
    layer, inputs = make_layer("2:16x16*64x32")
    x = np.random.default_rng(0).standard_normal((BATCH, inputs), np.float32)
    gradients = np.random.default_rng(1).standard_normal((BATCH, 512), np.float32)
    usual, moved, too_far = (
        movement(layer, ADAM, 0.1 / inputs, p, multipliers, x, gradients)[0]
        for p, multipliers in ((params, before), (grown, after), (grown, before))
    )
    assert 0.5 < moved / usual < 2
    assert too_far / usual > 2


def test_low_rank_is_the_kronecker_sum_of_columns_and_rows():
    low_rank = params_of("1024x512 low rank 3")
    kronecker = {
        "kernel_0_0": low_rank["kernel_u"].T[:, :, None],
        "kernel_0_1": low_rank["kernel_v"][:, None, :],
    }
    expected = kfc_jax.factor_multipliers(kronecker)
    actual = kfc_jax.factor_multipliers(low_rank)
    np.testing.assert_allclose(actual["kernel_u"], expected["kernel_0_0"], rtol=1e-6)
    np.testing.assert_allclose(actual["kernel_v"], expected["kernel_0_1"], rtol=1e-6)


def test_all_that_is_no_factor_has_multiplier_one():
    params = {
        "dense": {"kernel": np.ones((4, 4)), "bias": np.ones(4)},
        "one": params_of("64x64"),
        "kernel_scale": np.ones(()),
    }
    multipliers = kfc_jax.factor_multipliers(params, gain=1.0)
    assert jax.tree.structure(multipliers) == jax.tree.structure(params)
    np.testing.assert_allclose(jax.tree.leaves(multipliers), 1, rtol=1e-6)


def test_layers_that_start_from_zero_get_the_usual_multipliers():
    usual_params = params_of("2:16x16*64x32")
    zero = {**usual_params, "kernel_0_0": jnp.zeros((2, 16, 16))}
    usual = kfc_jax.factor_multipliers(usual_params)
    for params in (zero, jax.tree.map(jnp.zeros_like, zero)):
        multipliers = kfc_jax.factor_multipliers(params)
        product = multipliers["kernel_0_0"] * multipliers["kernel_0_1"]
        np.testing.assert_allclose(product, usual["kernel_0_0"] * usual["kernel_0_1"], rtol=0.1)


def test_nearly_zero_kernels_get_bounded_multipliers():
    usual = params_of("2:16x16*64x32")
    tiny = jax.tree.map(lambda a: 1e-4 * a, usual)
    for params in (usual, tiny):
        multipliers = kfc_jax.factor_multipliers(params)
        assert all(m < 30 for m in jax.tree.leaves(multipliers)), multipliers


class Stack(nn.Module):
    """Three layers of one structure, stacked by nn.scan along axis 0."""

    @nn.compact
    def __call__(self, x):
        scan = nn.scan(
            lambda layer, x, _: (layer(x), None),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=3,
        )
        return scan(KFCDense(64, structure="4:8x8*8x8"), x, None)[0]


def test_stacked_layers_share_the_multipliers_of_one():
    stacked = Stack().init(key(0), jnp.ones((1, 64)))["params"]["KFCDense_0"]
    assert stacked["kernel_0_0"].shape == (3, 4, 8, 8)
    single = kfc_jax.factor_multipliers(jax.tree.map(lambda a: a[0], stacked))
    shared = kfc_jax.factor_multipliers(stacked)
    for name in single:
        np.testing.assert_allclose(shared[name], single[name], rtol=0.3)


def test_boxes_and_frozen_dicts_change_nothing():
    params = params_of("4:8x4*8x2")
    boxed = {"net": {name: nn.Partitioned(a, (None,) * 3) for name, a in params.items()}}
    expected = kfc_jax.factor_multipliers(params)
    for tree in (boxed, freeze({"net": params})):
        multipliers = nn.unbox(kfc_jax.factor_multipliers(tree))["net"]
        np.testing.assert_array_equal(
            [multipliers[name] for name in params], [expected[name] for name in params]
        )


def test_works_in_an_nnx_optimizer():
    class Model(nnx.Module):
        def __init__(self):
            for name, array in params.items():
                setattr(self, name, nnx.Param(array))

    params = params_of("4:8x4*8x2")
    model = Model()
    chain = optax.chain(kfc_jax.scale_factor_updates(gain=1), optax.scale_by_learning_rate(1.0))
    optimizer = nnx.Optimizer(model, chain, wrt=nnx.Param)
    optimizer.update(model, jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param)))
    for name, multiplier in kfc_jax.factor_multipliers(params).items():
        moved = params[name] - getattr(model, name)[...]
        np.testing.assert_allclose(moved, np.full_like(moved, multiplier), rtol=1e-5)


def model_params():
    return {
        "conv": {"kernel": jnp.full((3, 3), 2.0), "bias": jnp.full((3,), 2.0, jnp.bfloat16)},
        "fc": {**params_of("4:8x4*8x2"), "bias": jnp.ones(8)},
        "head": params_of("1024x512 low rank 3"),
    }


def test_transform_multiplies_by_gain_and_multipliers_and_leaves_the_rest_alone():
    params = model_params()
    updates = jax.tree.map(lambda p: p + 1, params)
    transform = kfc_jax.scale_factor_updates(gain=0.25)
    state = transform.init(params)
    scaled, new_state = jax.jit(transform.update)(updates, state)
    multipliers = kfc_jax.factor_multipliers(params, gain=0.25)
    expected = jax.tree.map(lambda u, m: (u * m).astype(u.dtype), updates, multipliers)
    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(
            a.astype(np.float32), e.astype(np.float32), rtol=1e-6
        ),
        scaled,
        expected,
    )
    assert scaled["conv"]["bias"].dtype == jnp.bfloat16
    assert len(jax.tree.leaves(state)) == 4  # one scalar per factor
    jax.tree.map(np.testing.assert_array_equal, new_state, state)
    half = kfc_jax.factor_multipliers(params, gain=0.125)
    np.testing.assert_allclose(multipliers["fc"]["kernel_0_0"], 2 * half["fc"]["kernel_0_0"])


def test_a_block_diagonal_kernel_trains_and_decays_as_a_dense_one():
    params = {
        "fc": {"kernel_blocks": jnp.full((4, 3, 2), 2.0)},
        "out": {"kernel": jnp.ones((8, 3))},
    }
    multipliers = kfc_jax.factor_multipliers(params, gain=0.25)
    assert jax.tree.leaves(multipliers) == [1.0, 1.0]
    assert not kfc_jax.scale_factor_updates(0.25).init(params).multipliers
    decay = kfc_jax.add_decayed_weights(0.1)
    updates, _ = decay.update(jax.tree.map(jnp.zeros_like, params), decay.init(params), params)
    np.testing.assert_allclose(updates["fc"]["kernel_blocks"], 0.2)


def test_the_default_gain_is_a_quarter_of_the_rule():
    params = model_params()
    transform = kfc_jax.scale_factor_updates()
    updates, _ = transform.update(jax.tree.map(jnp.ones_like, params), transform.init(params))
    rule = kfc_jax.factor_multipliers(params)["fc"]["kernel_0_0"]
    np.testing.assert_allclose(updates["fc"]["kernel_0_0"], rule / 4, rtol=1e-6)


def test_multipliers_survive_a_checkpoint_though_the_factors_have_changed():
    params = model_params()
    transform = kfc_jax.scale_factor_updates()
    state = jax.jit(transform.init)(params)
    later = jax.tree.map(lambda p: 5 * p, params)
    restored = serialization.from_bytes(transform.init(later), serialization.to_bytes(state))
    expected, _ = transform.update(params, state)
    actual, _ = transform.update(params, restored)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.parametrize("text", ["4x4", "2:4x4*4x4", "3:2x3*4x2*3x4", "2:4x6*6x4+1:2x3*3x2*4x4"])
def test_a_product_decays_like_a_dense_kernel(text):
    rate, decay, steps = 0.1, 0.2, 20
    transform = optax.chain(kfc_jax.add_decayed_weights(decay), optax.scale_by_learning_rate(rate))
    structure = KroneckerStructure.parse(text)
    params = params_of(text)
    before = kernel_of(structure, params)
    dense = {"kernel": before}
    for _ in range(steps):
        params, dense = (
            optax.apply_updates(
                p, transform.update(jax.tree.map(jnp.zeros_like, p), transform.init(p), p)[0]
            )
            for p in (params, dense)
        )
    after = kernel_of(structure, params)
    np.testing.assert_allclose(dense["kernel"], before * (1 - rate * decay) ** steps, rtol=1e-5)
    error = np.linalg.norm(after - dense["kernel"]) / np.linalg.norm(dense["kernel"])
    assert error < steps * (rate * decay) ** 2  # decaying each factor in full would be off by 0.3


def kernel_of(structure, params):
    return dense_kernel(
        structure,
        [
            [params[f"kernel_{t}_{k}"] for k in range(term.num_factors)]
            for t, term in enumerate(structure.terms)
        ],
    )


def test_weight_decay_takes_a_mask_and_a_schedule_and_shares_between_u_and_v():
    params = model_params()
    zeros = jax.tree.map(jnp.zeros_like, params)
    transform = kfc_jax.add_decayed_weights(
        lambda count: 0.5 * count, mask=lambda p: jax.tree.map(lambda a: a.ndim > 1, p)
    )
    state = transform.init(params)
    for decay in (0.0, 0.5):
        updates, state = jax.jit(transform.update)(zeros, state, params)
        for layer, name, share in [
            ("conv", "kernel", 1.0),
            ("conv", "bias", 0.0),
            ("fc", "kernel_0_1", 0.5),
            ("fc", "bias", 0.0),
            ("head", "kernel_u", 0.5),
        ]:
            expected = decay * share * params[layer][name].astype(jnp.float32)
            np.testing.assert_allclose(
                updates[layer][name].astype(jnp.float32), expected, rtol=1e-6
            )


def test_gain_and_update_out_of_range_are_refused_at_once():
    for gain in (0.0, -1.0, float("nan"), float("inf")):
        message = message_of(kfc_jax.scale_factor_updates, gain)
        assert f"gain is {gain}" in message
        assert "leave scale_factor_updates out" in message
    message = message_of(kfc_jax.scale_factor_updates, update="adam")
    assert "'adam'" in message
    assert "'sign'" in message


@pytest.mark.parametrize(
    "params",
    [
        {"fc": {"kernel_0_1": np.ones((2, 4, 4))}},
        {"fc": {"kernel_0_0": np.ones((2, 4, 4)), "kernel_1_1": np.ones((2, 4, 4))}},
        {"fc": {"kernel_0_0": np.ones((2, 4, 4)), "kernel_0_1": np.ones((3, 4, 4))}},
        {"fc": {"kernel_0_0": np.ones((4, 4)), "kernel_0_1": np.ones((4, 4))}},
        {"fc": {"kernel_u": np.ones((4, 2))}},
        {"fc": {"kernel_u": np.ones((4, 2)), "kernel_v": np.ones((3, 4))}},
        {"fc": {"kernel_u": np.ones(4), "kernel_v": np.ones(4)}},
    ],
)
def test_incomplete_or_foreign_factors_are_refused_with_their_shapes(params):
    message = message_of(kfc_jax.factor_multipliers, params)
    assert "'fc" in message
    assert "together" in message
    assert "optax.masked" in message


def test_updates_that_lack_factors_are_refused():
    transform = kfc_jax.scale_factor_updates()
    state = transform.init(model_params())
    assert "fc/kernel_0_0" in message_of(transform.update, {"conv": jnp.ones(3)}, state)


def test_weight_decay_without_parameters_is_refused():
    transform = kfc_jax.add_decayed_weights(0.1)
    message = message_of(transform.update, {"kernel": jnp.ones(3)}, transform.init(None))
    assert "update(..., params)" in message
