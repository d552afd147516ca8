import jax.numpy as jnp
import numpy as np
import pytest

from experiments.any_flax_model.apis import Function
from experiments.any_flax_model.training import Evaluation, Training
from tests.experiments.any_flax_model import small


def linear(params, inputs):
    return inputs.reshape(len(inputs), -1)[:, ::56] @ params["kernel"]


def test_a_training_lowers_the_loss_and_goes_the_further_the_higher_the_rate():
    task = small.task("digits")
    model = Function(linear, {"kernel": jnp.zeros((14, 10))})
    training, score = Training(model, task, small.recipe("digits")), Evaluation(model)
    seen = []
    trained = {rate: training.run(model.params, 20, rate, 0, seen.append) for rate in (1e-4, 1e-2)}
    assert seen == [*range(1, 21)] * 2
    drawn = task.train[0][:4], task.train[1][:4]
    losses = [score(params, drawn).loss for params in (model.params, *trained.values())]
    assert losses[0] == pytest.approx(np.log(10), rel=1e-5)
    assert losses[0] > losses[1] > losses[2]
    # A tenth of the steps rises, and the rest falls to nothing: about half of the highest rate.
    step = np.abs(trained[1e-4]["kernel"]).max() / 1e-4
    assert 8 < step < 12


def test_the_evaluation_counts_every_example_once():
    task = small.task("text")

    class Says:
        params = 3.0

        @staticmethod
        def apply(params, inputs):
            return params * (np.arange(16) == inputs[..., None])

    inputs, targets = task.test
    score = Evaluation(Says)(3.0, task.test)
    logits = 3.0 * (np.arange(16) == inputs[..., None])
    losses = (
        np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, targets[..., None], -1)[..., 0]
    )
    assert score.loss == pytest.approx(losses.mean(), rel=1e-5)
    assert score.wrong == pytest.approx((inputs != targets).mean())
