import json
import shutil

import jax
import numpy as np
import pytest

from experiments.models import make_model
from experiments.runs.checkpoints import Checkpoints
from experiments.runs.finished import load_run, read_run
from experiments.training import run as training
from tests.experiments import tiny


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of the tiny network, one epoch long; not to be changed by a test."""
    config = tiny.get_config()
    config.train.update({"num_epochs": 1})
    config.optimizer.warmup_epochs = 0.0
    workdir = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        tiny.install(patch)
        result = training.train_and_evaluate(config, workdir)
    return workdir, config, result


pytestmark = pytest.mark.usefixtures("tiny_installed")


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "copy")


def test_the_loaded_model_makes_the_errors_of_the_result(finished):
    workdir, _, result = finished
    run = load_run(workdir)
    model, test = make_model(run.config.model), tiny.load().test
    variables = {"params": run.params, "batch_stats": run.batch_stats}
    logits = np.asarray(model.apply(variables, test.images.astype(np.float32) / 255))
    assert np.mean(logits.argmax(-1) != test.labels) == result["test"]["error"]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    loss = -log_p[np.arange(len(test.labels)), test.labels].mean()
    np.testing.assert_allclose(loss, result["test"]["loss"], rtol=1e-5)


def test_config_and_result_are_those_of_the_run(finished):
    workdir, config, result = finished
    run = load_run(str(workdir))
    assert run.folder == workdir
    assert run.config.to_dict() == config.to_dict()
    assert run.result == result
    assert read_run(workdir) == (run.config, run.result)


def test_nested_tuples_survive_json(copied):
    config = json.loads((copied / "config.json").read_text())
    config["model"]["channels"] = [[16], [24, 24]]
    (copied / "config.json").write_text(json.dumps(config))
    assert read_run(copied)[0].model.channels == ((16,), (24, 24))


def test_loading_leaves_the_folder_as_it_is(finished):
    def seen():
        return {p: p.stat().st_mtime_ns for p in [finished[0], *finished[0].rglob("*")]}

    before = seen()
    load_run(finished[0])
    assert seen() == before


def test_the_newest_checkpoint_counts(copied):
    run = load_run(copied)
    state = {"params": jax.tree.map(lambda x: x + 1, run.params), "batch_stats": {}, "other": 1}
    with Checkpoints(copied / "checkpoints") as checkpoints:
        checkpoints.save(100, state, {})
    np.testing.assert_array_equal(
        load_run(copied).params["fc1"]["bias"], run.params["fc1"]["bias"] + 1
    )


def test_running_statistics_are_loaded(copied, monkeypatch):
    run = load_run(copied)
    stats = {"norm": {"mean": np.arange(3.0, dtype=np.float32)}}
    with Checkpoints(copied / "checkpoints") as checkpoints:
        checkpoints.save(100, {"params": run.params, "batch_stats": stats}, {})
    monkeypatch.setattr(
        "experiments.runs.finished.make_model", lambda _: FakeModel(run.params, stats)
    )
    np.testing.assert_array_equal(load_run(copied).batch_stats["norm"]["mean"], [0, 1, 2])


class FakeModel:
    def __init__(self, params, batch_stats):
        self._variables = {"params": params, "batch_stats": batch_stats}

    def init(self, *_):
        return self._variables


def remove(*names):
    def change(folder):
        for name in names:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def other_model(folder):
    config = json.loads((folder / "config.json").read_text())
    config["model"]["fc1"] = {"kind": "dense", "structure": "", "rank": 0, "num_factors": 2}
    (folder / "config.json").write_text(json.dumps(config))


def other_size(folder):
    config = json.loads((folder / "config.json").read_text())
    config["model"]["fc1"]["structure"] = "3:4x5*4x6"
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, r"copy is no folder; name the --workdir of a finished run"),
        (remove("config.json"), r"copy holds no run: it has no config\.json; name the --workdir"),
        (remove("result.json"), r"copy holds a run that is not finished: it has no result\.json"),
        (write("config.json", "{"), r"config\.json cannot be read \(.*take another run"),
        (write("config.json", "{}"), r"config\.json is of no run: it has no model; name"),
        (write("result.json", "[]"), r"result\.json cannot be read \(it holds no object\)"),
        (remove("checkpoints"), r"checkpoint is missing.* holds no checkpoint.*Train the run"),
        (remove("checkpoints/5/state"), r"checkpoint is missing, damaged, or not of the model"),
        (
            other_model,
            r"not of the model in its config\.json \(params/fc1/kernel is missing in the "
            r"checkpoint and \(16, 30\) in the model\)\. Train the run again, or take another",
        ),
        (other_size, r"fc1/kernel_0_0 is \(2, 4, 5\) in the checkpoint and \(3, 4, 5\) in"),
    ],
)
def test_what_is_no_finished_run_is_one_clear_error(copied, change, message):
    change(copied)
    with pytest.raises(ValueError, match=message) as caught:
        load_run(copied)
    assert "\n" not in str(caught.value)
