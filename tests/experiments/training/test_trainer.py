import json
import math
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.data import TrainBatches
from experiments.runs import predictions, read_run
from experiments.runs.checkpoints import Checkpoints
from experiments.system import Interrupted
from experiments.training import create_state, run, trainer
from experiments.training.trained_model import TrainedModel
from tests.experiments import tiny

NUM_STEPS = 3 * tiny.STEPS_PER_EPOCH
# What depends on the clock or on a commit meanwhile; all else must agree in runs of one config.
TIMES = {"seconds", "steps_per_second", "data_wait_fraction", "git_revision"}

pytestmark = pytest.mark.usefixtures("compile_once", "tiny_installed")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, compile_once):
    workdir = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        tiny.install(patch)
        result = tiny.train(tiny.get_config(), workdir)
    return workdir, result


def metric_lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def without_times(numbers):
    return {name: value for name, value in numbers.items() if name not in TIMES}


def checkpoint_steps(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def before_batch(monkeypatch, number, action):
    """Calls `action` when the batch of that number is asked for, counted over the whole run."""
    original = TrainBatches.__next__

    def patched(self):
        if self.get_state()["step"] + 1 == number:
            action()
        return original(self)

    monkeypatch.setattr(TrainBatches, "__next__", patched)


def test_a_run_leaves_the_files_that_the_design_names(uninterrupted):
    workdir, result = uninterrupted
    names = {path.name.split(".tfevents")[0] for path in workdir.iterdir()}
    assert names == {
        *("config.json", "metrics.jsonl", "events.out", "checkpoints", "result.json"),
        *("predictions.npz", ".training.lock"),
    }
    assert checkpoint_steps(workdir) == [NUM_STEPS - tiny.STEPS_PER_EPOCH, NUM_STEPS]
    assert json.loads((workdir / "result.json").read_text()) == result


def test_the_result_holds_all_that_reports_need(uninterrupted):
    _, result = uninterrupted
    assert result["validation"]["examples"] == 24
    assert result["test"]["examples"] == 20
    for split in ("validation", "test"):
        assert 0 <= result[split]["error"] <= 1
        assert math.isfinite(result[split]["loss"])
    assert [layer["name"] for layer in result["layers"]] == ["fc1", "fc2"]
    assert result["layers"][0]["parameters"] == 2 * (4 * 5 + 4 * 6)
    layer_sum = sum(c["parameters"] + c["bias_parameters"] for c in result["layers"])
    assert result["whole_model"]["parameters"] == layer_sum
    assert (result["steps"], result["epochs"], result["seed"]) == (NUM_STEPS, 3, 0)
    assert set(result["seconds"]) == {"compile", "train", "data_wait", "eval", "checkpoint"}
    assert 0 < result["data_wait_fraction"] < 1
    # The seconds are rounded, and few.
    seconds = NUM_STEPS / result["steps_per_second"]
    assert seconds == pytest.approx(result["seconds"]["train"], abs=1e-3)
    assert result["device"]["count"] >= 1
    assert {"python", "jax", "flax", "optax"} <= set(result["versions"])
    assert "git_revision" in result


def test_predictions_for_test_images_are_kept_and_have_the_errors_of_the_result(uninterrupted):
    workdir, result = uninterrupted
    found = predictions.read(workdir / "predictions.npz")
    assert list(found) == ["test"]
    its, test = found["test"], result["test"]
    labels = tiny.load().test.labels
    assert len(its.predicted) == test["examples"] == len(labels)
    assert its.errors / test["examples"] == pytest.approx(test["error"], abs=1e-12)
    assert its.errors == np.sum(its.predicted != labels)
    # Rounded to 255ths, they still tell about the mean loss.
    assert np.mean(its.probability / 255) == pytest.approx(np.exp(-test["loss"]), abs=0.25)


def test_a_result_tells_what_the_model_takes_and_how_it_errs_with_weights_of_8_bits(uninterrupted):
    _, result = uninterrupted
    assert result["bytes"]["float32"] == 4 * result["whole_model"]["parameters"]
    assert result["bytes"]["int8"] < result["bytes"]["float32"]
    for split in ("test", "validation"):
        assert result["int8"][split]["examples"] == result[split]["examples"]
        assert result["int8"][split]["loss"] != result[split]["loss"]
        assert result["int8"][split]["loss"] == pytest.approx(result[split]["loss"], rel=0.05)


def test_metrics_come_at_every_log_point_and_end_of_epoch(uninterrupted):
    lines = metric_lines(uninterrupted[0])
    assert [line["step"] for line in lines] == [3, 5, 6, 9, 10, 12, 15]
    with_validation = [line["step"] for line in lines if "validation/error" in line]
    assert with_validation == [5, 10, 15]
    assert lines[-1]["validation/error"] == uninterrupted[1]["validation"]["error"]
    assert [line["epoch"] for line in lines] == [line["step"] / 5 for line in lines]


def test_training_learns(uninterrupted):
    lines = metric_lines(uninterrupted[0])
    assert lines[-1]["train/loss"] < 0.7 * lines[0]["train/loss"]


@pytest.mark.parametrize("number", [8, 12])
def test_a_crash_within_an_epoch_changes_no_number(tmp_path, monkeypatch, uninterrupted, number):
    def crash():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        before_batch(patch, number, crash)
        with pytest.raises(KeyboardInterrupt):
            tiny.train(tiny.get_config(), tmp_path)
    assert not (tmp_path / "result.json").exists()
    result = tiny.train(tiny.get_config(), tmp_path)
    assert_same_run(tmp_path, result, uninterrupted)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_step_and_changes_no_number(
    tmp_path, monkeypatch, uninterrupted, signum
):
    handler = signal.getsignal(signum)
    with monkeypatch.context() as patch:
        before_batch(patch, 8, lambda: signal.raise_signal(signum))
        with pytest.raises(
            Interrupted, match=f"{signum.name} stopped .* step 8, and the same"
        ) as e:
            tiny.train(tiny.get_config(), tmp_path)
    assert e.value.signum == signum
    assert signal.getsignal(signum) is handler
    assert checkpoint_steps(tmp_path) == [5, 8]
    result = tiny.train(tiny.get_config(), tmp_path)
    assert_same_run(tmp_path, result, uninterrupted)


def assert_same_run(workdir, result, uninterrupted):
    expected_dir, expected = uninterrupted
    assert without_times(result) == without_times(expected)
    lines = [without_times(line) for line in metric_lines(workdir)]
    assert lines == [without_times(line) for line in metric_lines(expected_dir)]


@pytest.mark.parametrize("kind", ["dense", "kfc"])
def test_a_frozen_layer_keeps_its_first_values_also_in_a_run_that_was_stopped(
    tmp_path, monkeypatch, kind
):
    config = tiny.config_of(model__fc1__kind=kind, model__fc1__frozen=True)
    with monkeypatch.context() as patch:
        before_batch(patch, 8, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(Interrupted):
            tiny.train(config, tmp_path)
    result = tiny.train(config, tmp_path)
    finished = TrainedModel(read_run(tmp_path))
    first = create_state(finished.model, optax.identity(), config).params
    last = finished.variables["params"]
    jax.tree.map(np.testing.assert_array_equal, first["fc1"], last["fc1"])
    assert not np.allclose(first["fc2"]["kernel"], last["fc2"]["kernel"])
    assert [layer["frozen"] for layer in result["layers"]] == [True, False]
    whole = result["whole_model"]
    assert whole["trained_parameters"] == 30 * 4 + 4
    assert whole["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(first))


def test_a_finished_run_is_left_alone(uninterrupted, monkeypatch):
    workdir, result = uninterrupted
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.is_file()}
    monkeypatch.setattr(run.data, "load", lambda *_: pytest.fail("the data was loaded"))
    assert tiny.train(tiny.get_config(), workdir) == result
    after = {path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.is_file()}
    assert after == before


def test_a_run_that_stopped_before_its_result_only_evaluates(tmp_path, monkeypatch, uninterrupted):
    with monkeypatch.context() as patch:
        patch.setattr(trainer._Trainer, "finish", lambda _: pytest.fail("stopped"))
        with pytest.raises(pytest.fail.Exception):
            tiny.train(tiny.get_config(), tmp_path)
    result = tiny.train(tiny.get_config(), tmp_path)
    assert_same_run(tmp_path, result, uninterrupted)


def bad_rate_from(step_index):
    """A schedule that breaks the parameters in the step after `step_index` steps."""
    return lambda *_: lambda step: jnp.where(step < step_index, 1e-3, jnp.inf)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "learning_rate_schedule", bad_rate_from(6))
    with pytest.raises(trainer.Diverged) as caught:
        tiny.train(tiny.get_config(), tmp_path)
    message = str(caught.value)
    assert "The loss is nan at step 8" in message
    assert "learning rate is inf" in message
    assert "Checkpoint 5 is good" in message
    assert "Lower config.optimizer.learning_rate" in message
    assert_stopped_after_step_5(tmp_path)


def test_parameters_that_are_not_finite_are_never_saved(tmp_path, monkeypatch):
    # The last step of an epoch breaks them: no loss has shown it when the checkpoint is due.
    monkeypatch.setattr(trainer, "learning_rate_schedule", bad_rate_from(9))
    with pytest.raises(trainer.Diverged, match="A parameter is not finite after step 10"):
        tiny.train(tiny.get_config(), tmp_path)
    assert_stopped_after_step_5(tmp_path)


def assert_stopped_after_step_5(workdir):
    assert not (workdir / "result.json").exists()
    assert checkpoint_steps(workdir) == [5]
    assert "NaN" not in (workdir / "metrics.jsonl").read_text()
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        assert checkpoints.latest_step() == 5


def test_a_wrong_config_stops_before_the_data_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(run.data, "load", lambda *_: pytest.fail("the data was loaded"))
    config = tiny.get_config()
    config.model.fc1.structure = "2:16x20*50x25"
    with pytest.raises(ValueError, match=r"layer fc1: Structure .* needs 16x30"):
        tiny.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_without_validation_and_test_there_are_none(tmp_path):
    config = tiny.get_config()
    config.data.num_validation = 0
    config.train.update({"test_at_end": False, "num_epochs": 2, "batch_size": 32})
    result = tiny.train(config, tmp_path)
    assert result["steps"] == 2 * 2
    assert result["validation"] is None
    assert result["test"] is None
    assert not any("validation/error" in line for line in metric_lines(tmp_path))


def test_padding_of_the_last_batch_does_not_count(uninterrupted, tmp_path):
    # 20 test images in batches of 16 (the last one padded), against one batch of 20.
    config = tiny.get_config()
    config.train.eval_batch_size = 20
    result = tiny.train(config, tmp_path)
    assert result["test"]["error"] == uninterrupted[1]["test"]["error"]
    np.testing.assert_allclose(result["test"]["loss"], uninterrupted[1]["test"]["loss"], rtol=1e-5)
