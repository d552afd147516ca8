import json
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from experiments.data import TrainBatches
from experiments.system import Interrupted
from experiments.train import main
from experiments.training import prepare, steps
from experiments.training.check_config import checked_config
from experiments.training.teacher import Teacher, distillation_loss
from tests.experiments import tiny

TIMES = {"seconds", "steps_per_second", "data_wait_fraction", "git_revision"}


pytestmark = pytest.mark.usefixtures("compile_once", "tiny_installed")


@pytest.fixture
def teacher(dense_run):
    return dense_run


def config_of(**fields):
    return tiny.config_of(**{"train__num_epochs": 2, **fields})


def student(teacher, **fields):
    return config_of(distillation__teacher=str(teacher), **fields)


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def test_the_loss_is_the_divergence_from_the_teacher_at_the_temperature():
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=(2, 5, 7)) * 4
    for temperature in (0.5, 1.0, 3.0):
        p, q = softmax(theirs / temperature), softmax(ours / temperature)
        expected = temperature**2 * np.sum(p * np.log(p / q), -1)
        loss = distillation_loss(jnp.asarray(ours), jnp.asarray(theirs), temperature)
        np.testing.assert_allclose(loss, expected, rtol=1e-4)
    np.testing.assert_allclose(distillation_loss(ours, ours, 2.0), 0, atol=1e-6)
    sure = jnp.array([[1000.0, 0.0], [0.0, 1000.0]])
    assert np.isfinite(distillation_loss(sure, sure, 1.0)).all(), "a teacher may be quite sure"


def test_the_size_of_the_gradient_hardly_depends_on_a_high_temperature():
    rng = np.random.default_rng(0)
    ours, theirs = jnp.asarray(rng.normal(size=(2, 1, 4)))

    def norm(temperature):
        grad = jax.grad(lambda logits: distillation_loss(logits, theirs, temperature).sum())
        return np.linalg.norm(grad(ours))

    assert norm(100.0) == pytest.approx(norm(20.0), rel=0.1)


class Plain(nn.Module):
    @nn.compact
    def __call__(self, images, *, train=False):
        return nn.Dense(4)(images.reshape(len(images), -1))


class Noisy(nn.Module):
    """A teacher that would answer otherwise with train=True, twice over."""

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.BatchNorm(use_running_average=not train)(images)
        x = nn.Dropout(0.5, deterministic=not train)(x.reshape(len(x), -1))
        return nn.Dense(4)(x)


def one_step(teacher, **fields):
    config = config_of(**fields)
    optimizer = optax.sgd(0.01)
    state = steps.create_state(Plain(), optimizer, config)
    before = jax.device_get(state.params)
    batch = {"image": tiny.load().train.images[:8], "label": tiny.load().train.labels[:8]}
    batch = jax.device_put(batch, steps.shardings()[1])
    after, metrics = steps.compile_train_step(Plain(), optimizer, config, state, teacher)(
        state, batch
    )
    return before, jax.device_get(after.params), np.asarray(metrics)


def make_teacher(seed=5):
    model = Noisy()
    variables = model.init(jax.random.key(seed), jnp.zeros((1, tiny.SIDE, tiny.SIDE, 1)))
    variables["batch_stats"]["BatchNorm_0"]["mean"] += 0.2
    return Teacher(model, variables)


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_a_step_descends_on_the_weighted_sum_of_both_losses(weight):
    teacher, temperature = make_teacher(), 3.0
    before, after, (loss, _, _) = one_step(
        teacher,
        augmentation__shift=0,
        distillation__weight=weight,
        distillation__temperature=temperature,
    )
    images = tiny.load().train.images[:8].astype(np.float32) / 255
    x, labels = images.reshape(8, -1), tiny.load().train.labels[:8]
    dense = jax.device_get(teacher.variables["params"]["Dense_0"])
    scaled = (x - 0.2) / np.sqrt(1 + 1e-5)  # the running statistics: mean 0.2, variance 1
    p = softmax((scaled @ dense["kernel"] + dense["bias"]) / temperature)
    logits = x @ before["Dense_0"]["kernel"] + before["Dense_0"]["bias"]
    q, hard = softmax(logits / temperature), np.eye(4)[labels]
    cross_entropy = -np.log(softmax(logits)[np.arange(8), labels]).mean()
    divergence = np.sum(p * np.log(p / q), -1).mean()
    expected = (1 - weight) * cross_entropy + weight * temperature**2 * divergence
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    # The gradient by the logits, by hand.
    by_logits = (1 - weight) * (softmax(logits) - hard) + weight * temperature * (q - p)
    np.testing.assert_allclose(
        before["Dense_0"]["bias"] - 0.01 * by_logits.mean(0),
        after["Dense_0"]["bias"],
        rtol=1e-4,
        atol=1e-7,
    )


def test_the_teacher_sees_the_shifted_images():
    # Taught by itself alone, a model has nothing to learn, unless the two see different images.
    config = config_of()
    state = steps.create_state(Plain(), optax.sgd(0.01), config)
    same = Teacher(Plain(), {"params": jax.device_get(state.params), "batch_stats": {}})
    _, _, metrics = one_step(same, augmentation__shift=3, distillation__weight=1.0)
    np.testing.assert_allclose(metrics[[0, 2]], 0, atol=1e-5)


def test_without_a_teacher_the_fields_change_nothing():
    _, after, metrics = one_step(None)
    _, other, others = one_step(None, distillation__weight=1.0, distillation__temperature=9.0)
    np.testing.assert_array_equal(metrics, others)
    np.testing.assert_array_equal(after["Dense_0"]["kernel"], other["Dense_0"]["kernel"])


def seen(folder):
    return {p: p.stat().st_mtime_ns for p in [folder, *folder.rglob("*")]}


def without_times(numbers):
    return {name: value for name, value in numbers.items() if name not in TIMES}


def metric_lines(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [without_times(json.loads(line)) for line in lines]


def test_a_distilled_run_names_its_teacher_resumes_to_the_same_numbers_and_leaves_it_alone(
    teacher, tmp_path, monkeypatch
):
    before = seen(teacher)
    whole = tiny.train(student(teacher), tmp_path / "whole")
    theirs = json.loads((teacher / "result.json").read_text())
    assert whole["teacher"] == {
        "run": str(teacher),
        "validation": theirs["validation"],
        "test": theirs["test"],
    }
    original = TrainBatches.__next__

    def interrupting(self):
        if self.get_state()["step"] == 6:
            signal.raise_signal(signal.SIGTERM)
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(TrainBatches, "__next__", interrupting)
        with pytest.raises(Interrupted):
            tiny.train(student(teacher), tmp_path / "parts")
    parts = tiny.train(student(teacher), tmp_path / "parts")
    assert without_times(parts) == without_times(whole)
    assert metric_lines(tmp_path / "parts") == metric_lines(tmp_path / "whole")
    assert seen(teacher) == before

    alone = tiny.train(config_of(), tmp_path / "alone")
    assert "teacher" not in alone
    assert alone["validation"]["loss"] != whole["validation"]["loss"]


def test_a_teacher_of_other_images_or_classes_is_refused(teacher):
    config = student(teacher, model__num_classes=3)
    with pytest.raises(ValueError, match=r"model\.num_classes is 4, but config\..* is 3; take"):
        checked_config(config)
    config = student(teacher, model__image_shape=(32, 32, 1), model__fc1__structure="1:8x5*8x6")
    with pytest.raises(ValueError, match=r"model\.image_shape is \(16, 16, 1\), but .*\(32, 32, 1"):
        checked_config(config)


def test_a_folder_without_a_finished_run_is_refused(teacher, tmp_path):
    folder = tmp_path / "teacher"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"distillation\.teacher is '.*nowhere', but .*no folder"):
        checked_config(student(tmp_path / "nowhere"))
    (folder / "config.json").write_text((teacher / "config.json").read_text())
    with pytest.raises(ValueError, match=r"distillation\.teacher is .*not finished.*name the"):
        checked_config(student(folder))
    (folder / "result.json").write_text((teacher / "result.json").read_text())
    with pytest.raises(ValueError, match=r"distillation\.teacher is .*holds no checkpoint"):
        prepare(student(folder), tmp_path / "run")


def test_a_finished_run_no_longer_needs_its_teacher(teacher, tmp_path):
    own = tmp_path / "teacher"
    shutil.copytree(teacher, own)
    done = tiny.train(student(own), tmp_path / "run")
    shutil.rmtree(own)
    again = tiny.train(student(own), tmp_path / "run")
    assert again == done
    with pytest.raises(ValueError, match="no folder"):  # another run, and an unfinished one
        prepare(student(own, seed=5), tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(ValueError, match="no folder"):
        prepare(student(own), tmp_path / "run")


@pytest.mark.parametrize("inside", ["", "below"])
def test_a_run_is_never_written_into_its_teacher(teacher, inside):
    before = seen(teacher)
    with pytest.raises(ValueError, match="written into that folder; take another --workdir"):
        prepare(student(teacher), teacher / inside)
    assert seen(teacher) == before


def test_a_sweep_may_distil(teacher):
    from experiments.sweeping.running.plan import Plan, trial_configs
    from experiments.sweeping.trials import name_trials

    overrides = [{"distillation.teacher": str(teacher)}, {"distillation.teacher": "nowhere"}]
    plan = Plan("sweep.py", "configs/quickstart.py", name_trials(overrides))
    with pytest.raises(ValueError, match=r"trial distillation\.teacher=.*model\.image_shape is"):
        trial_configs(plan)


def test_the_command_says_it_in_one_line(tmp_path, capsys, monkeypatch):
    class Flag:
        def __init__(self, value):
            self.value = value

    monkeypatch.setattr("experiments.train._CONFIG", Flag(student(tmp_path / "gone")))
    monkeypatch.setattr("experiments.train._WORKDIR", Flag(str(tmp_path / "run")))
    with pytest.raises(SystemExit):
        main(["train"])
    error = capsys.readouterr().err
    assert error.startswith("error: config.distillation.teacher is ")
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
