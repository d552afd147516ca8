import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import mnist
from experiments.training.optimizers import learning_rate_schedule, make_optimizer


def optimizer_config(**fields):
    config = mnist.get_config().optimizer
    config.update(fields)
    return config


def test_the_rate_warms_up_then_follows_a_cosine_to_zero():
    config = optimizer_config(learning_rate=0.4, warmup_epochs=0.5)
    rates = np.array([learning_rate_schedule(config, 100, 20)(step) for step in range(101)])
    np.testing.assert_allclose(rates[:10], 0.4 * np.arange(1, 11) / 10, rtol=1e-5)
    cosine = 0.2 * (1 + np.cos(np.pi * np.arange(91) / 90))
    np.testing.assert_allclose(rates[10:], cosine, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("warmup_epochs", [0.0, 0.05])
def test_a_constant_rate_stays(warmup_epochs):
    config = optimizer_config(learning_rate=0.4, schedule="constant", warmup_epochs=warmup_epochs)
    schedule = learning_rate_schedule(config, 100, 20)
    assert [float(schedule(step)) for step in (0, 1, 50, 99)] == pytest.approx([0.4] * 4)


PARAMS = {
    "fc": {
        "kernel_0_0": jnp.ones((1, 4, 4)),
        "kernel_0_1": jnp.ones((1, 4, 4)),
        "bias": jnp.ones(16),
    },
    "out": {"kernel": jnp.ones((16, 3)), "bias": jnp.ones(3)},
    "norm": {"scale": jnp.ones(3)},
}


def first_update(gradient=0.0, frozen=(), **fields):
    optimizer = make_optimizer(optimizer_config(**fields), optax.constant_schedule(0.5), frozen)
    gradients = jax.tree.map(lambda leaf: jnp.full_like(leaf, gradient), PARAMS)
    updates, _ = optimizer.update(gradients, optimizer.init(PARAMS), PARAMS)
    return jax.tree.map(lambda leaf: float(leaf.mean()), updates)


def test_only_kernels_decay_and_two_factors_do_so_as_one():
    updates = first_update(weight_decay=0.1)
    assert updates["out"]["kernel"] == pytest.approx(-0.05)
    assert updates["fc"]["kernel_0_0"] == pytest.approx(-0.025)
    assert updates["fc"]["bias"] == updates["out"]["bias"] == updates["norm"]["scale"] == 0


def test_the_gain_acts_on_factors_alone():
    plain = first_update(1.0, weight_decay=0.0, scale_factors=False)
    assert plain["fc"]["kernel_0_0"] == pytest.approx(-0.5, rel=1e-4)
    once = first_update(1.0, weight_decay=0.0)
    thrice = first_update(1.0, weight_decay=0.0, factor_gain=3.0)
    for updates in (once, thrice):
        assert updates["out"] == pytest.approx(plain["out"])
        assert updates["fc"]["bias"] == pytest.approx(plain["fc"]["bias"])
    assert once["fc"]["kernel_0_0"] != pytest.approx(plain["fc"]["kernel_0_0"], rel=0.01)
    assert thrice["fc"]["kernel_0_0"] == pytest.approx(3 * once["fc"]["kernel_0_0"])


@pytest.mark.parametrize("frozen", ["fc", "out"])
def test_a_frozen_layer_neither_moves_nor_decays_and_the_others_do_as_ever(frozen):
    fields = {"gradient": 1.0, "weight_decay": 0.1}
    trained, updates = first_update(**fields), first_update(**fields, frozen={frozen})
    assert not any(updates.pop(frozen).values())
    assert all(trained.pop(frozen).values())
    assert updates == trained


def test_sgd_steps_along_the_gradient():
    updates = first_update(2.0, name="sgd", b1=0.0, weight_decay=0.0, scale_factors=False)
    assert updates["out"]["kernel"] == pytest.approx(-1.0)
