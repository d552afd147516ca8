import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from experiments.models import make_model
from experiments.training import steps
from tests.experiments import tiny


class Plain(nn.Module):
    @nn.compact
    def __call__(self, images, *, train=False):
        return nn.Dense(4)(images.reshape(len(images), -1))


class Normalized(nn.Module):
    """A model with all that a model may have: running statistics and dropout."""

    rate: float = 0.0

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(images)
        x = nn.Dropout(self.rate, deterministic=not train)(x.reshape(len(x), -1))
        return nn.Dense(4)(x)


def first_steps(model, num_steps=1, **fields):
    """Returns states (copied to the host) and metrics of the first steps on one batch."""
    config = tiny.get_config()
    config.augmentation.shift = 0
    config.update_from_flattened_dict(fields)
    optimizer = optax.sgd(0.01)
    state = steps.create_state(model, optimizer, config)
    train_step = steps.compile_train_step(model, optimizer, config, state)
    states, all_metrics = [jax.device_get(state)], []
    for _ in range(num_steps):
        state, metrics = train_step(state, train_batch())
        states.append(jax.device_get(state))
        all_metrics.append(np.asarray(metrics))
    return states, all_metrics


def train_batch():
    images = tiny.load().train
    batch = {"image": images.images[:8], "label": images.labels[:8]}
    return jax.device_put(batch, steps.shardings()[1])


def test_a_step_is_gradient_descent_on_the_mean_cross_entropy():
    model = Plain()
    (before, after), (metrics,) = first_steps(model)
    images = jnp.asarray(tiny.load().train.images[:8], jnp.float32) / 255
    labels = tiny.load().train.labels[:8]

    def loss(params):
        log_p = jax.nn.log_softmax(model.apply({"params": params}, images))
        return -log_p[jnp.arange(8), labels].mean()

    value, gradients = jax.value_and_grad(loss)(before.params)
    norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradients)))
    logits = np.asarray(model.apply({"params": before.params}, images))
    error = np.mean(logits.argmax(-1) != labels)
    np.testing.assert_allclose(metrics, [value, error, norm], rtol=1e-4)
    expected = jax.tree.map(lambda p, g: p - 0.01 * g, before.params, gradients)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), after.params, expected
    )
    assert after.step == 1


def test_a_frozen_layer_stays_and_has_no_part_in_the_gradients_norm(monkeypatch):
    tiny.install(monkeypatch)
    config = tiny.config_of(model__fc1__kind="dense", model__fc1__frozen=True)
    model = make_model(config.model)
    (before, after), (metrics,) = first_steps(model)
    jax.tree.map(np.testing.assert_array_equal, before.params["fc1"], after.params["fc1"])
    moved = np.concatenate(
        [
            (after.params["fc2"][name] - before.params["fc2"][name]).ravel()
            for name in ("kernel", "bias")
        ]
    )
    assert metrics[2] == pytest.approx(np.linalg.norm(moved) / 0.01, rel=1e-3)


def test_running_statistics_are_updated():
    (before, after), _ = first_steps(Normalized())
    mean = tiny.load().train.images[:8].mean() / 255
    assert before.batch_stats["BatchNorm_0"]["mean"] == 0
    np.testing.assert_allclose(after.batch_stats["BatchNorm_0"]["mean"], [0.5 * mean], rtol=1e-4)


def test_randomness_is_repeatable():
    _, dropped = first_steps(Normalized(rate=0.5), num_steps=2)
    _, again = first_steps(Normalized(rate=0.5), num_steps=2)
    np.testing.assert_array_equal(dropped, again)
    _, shifted = first_steps(Plain(), **{"augmentation.shift": 3})
    _, unshifted = first_steps(Plain())
    assert shifted[0][0] != unshifted[0][0]


def test_label_smoothing_raises_the_loss_of_training():
    model = Plain()
    (before, _), (smoothed,) = first_steps(model, **{"train.label_smoothing": 0.2})
    images = jnp.asarray(tiny.load().train.images[:8], jnp.float32) / 255
    log_p = jax.nn.log_softmax(model.apply({"params": before.params}, images))
    targets = 0.8 * np.eye(4)[tiny.load().train.labels[:8]] + 0.05
    np.testing.assert_allclose(smoothed[0], -(log_p * targets).sum(-1).mean(), rtol=1e-4)


def test_evaluation_sums_over_the_examples_that_are_not_padding():
    config, model = tiny.get_config(), Normalized(rate=0.9)
    state = steps.create_state(model, optax.sgd(0.1), config)
    eval_step = steps.compile_eval_step(model, config, state)
    images = tiny.load().test
    mask = np.arange(16) < 5
    batch = {"image": images.images[:16], "label": images.labels[:16], "mask": mask}
    output = eval_step(state, jax.device_put(batch, steps.shardings()[1]))
    loss, errors, examples = output["sums"]
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    logits = model.apply(variables, jnp.asarray(images.images[:5], jnp.float32) / 255)
    log_p = jax.nn.log_softmax(logits)
    np.testing.assert_allclose(loss, -log_p[jnp.arange(5), images.labels[:5]].sum(), rtol=1e-5)
    assert errors == np.sum(np.asarray(logits).argmax(-1) != images.labels[:5])
    assert examples == 5
    assert output["predicted"][:5].tolist() == np.asarray(logits).argmax(-1).tolist()
    probability = np.exp(log_p[jnp.arange(5), images.labels[:5]])
    np.testing.assert_allclose(output["probability"][:5], probability, rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_bad_number_is_found(bad):
    tree = {"a": jnp.ones((3, 2)), "b": [jnp.ones(4), jnp.zeros(())]}
    assert steps.all_finite(tree)
    tree["b"][0] = tree["b"][0].at[2].set(bad)
    assert not steps.all_finite(tree)


def test_two_devices_compute_the_same_step_as_one(request):
    _, one = first_steps(Normalized(), num_steps=2)
    script = """
import jax
from tests.experiments.training.test_steps import Normalized, first_steps
assert jax.device_count() == 2
for metrics in first_steps(Normalized(), num_steps=2)[1]:
    print(*metrics)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"},
        cwd=request.config.rootpath,
        capture_output=True,
        text=True,
        check=True,
    )
    two = [[float(x) for x in line.split()] for line in done.stdout.splitlines()]
    np.testing.assert_allclose(two, one, rtol=1e-4)
