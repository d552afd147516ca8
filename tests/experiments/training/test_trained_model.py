import json
import shutil

import jax
import numpy as np
import pytest

from experiments.runs import Checkpoints, read_run
from experiments.training.trained_model import TrainedModel
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
        result = tiny.train(config, workdir)
    return workdir, config, result


pytestmark = pytest.mark.usefixtures("tiny_installed")


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "copy")


def trained(folder):
    return TrainedModel(read_run(folder))


def test_the_loaded_model_makes_the_errors_of_the_result(finished):
    workdir, _, result = finished
    found, test = trained(workdir), tiny.load().test
    logits = np.asarray(found.model.apply(found.variables, test.images.astype(np.float32) / 255))
    assert np.mean(logits.argmax(-1) != test.labels) == result["test"]["error"]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    loss = -log_p[np.arange(len(test.labels)), test.labels].mean()
    np.testing.assert_allclose(loss, result["test"]["loss"], rtol=1e-5)


def test_loading_leaves_the_folder_as_it_is(finished):
    def seen():
        return {p: p.stat().st_mtime_ns for p in [finished[0], *finished[0].rglob("*")]}

    before = seen()
    assert trained(finished[0]).variables
    assert seen() == before


def test_the_newest_checkpoint_counts(copied):
    params = trained(copied).variables["params"]
    state = {
        "params": jax.tree.map(lambda x: x + 1, params),
        "batch_stats": {},
        "other": np.ones(1),
    }
    with Checkpoints(copied / "checkpoints") as checkpoints:
        checkpoints.save(100, state, {})
    np.testing.assert_array_equal(
        trained(copied).variables["params"]["fc1"]["bias"], params["fc1"]["bias"] + 1
    )


def test_running_statistics_are_loaded(copied, monkeypatch):
    params = trained(copied).variables["params"]
    stats = {"norm": {"mean": np.arange(3.0, dtype=np.float32)}}
    with Checkpoints(copied / "checkpoints") as checkpoints:
        checkpoints.save(100, {"params": params, "batch_stats": stats}, {})
    monkeypatch.setattr(
        "experiments.training.trained_model.make_model", lambda _: FakeModel(params, stats)
    )
    np.testing.assert_array_equal(
        trained(copied).variables["batch_stats"]["norm"]["mean"], [0, 1, 2]
    )


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
        (remove("checkpoints"), r"checkpoint is missing.* holds no checkpoint.*train the run"),
        (remove("checkpoints/5/state"), r"checkpoint is missing, damaged, or not of the model"),
        (
            other_model,
            r"not of the model in its config\.json \(params/fc1/kernel is missing in the "
            r"checkpoint and \(16, 30\) in the model\)\. Rename its result\.json, and train",
        ),
        (other_size, r"fc1/kernel_0_0 is \(2, 4, 5\) in the checkpoint and \(3, 4, 5\) in"),
    ],
)
def test_arrays_that_are_missing_damaged_or_of_another_model_are_one_clear_error(
    copied, change, message
):
    change(copied)
    with pytest.raises(ValueError, match=message) as caught:
        _ = trained(copied).variables
    assert "\n" not in str(caught.value)


def test_numbers_that_are_not_finite_are_found(copied):
    params = trained(copied).variables["params"]
    params["fc1"]["kernel_0_0"] = params["fc1"]["kernel_0_0"].at[0, 2, 3].set(np.nan)
    with Checkpoints(copied / "checkpoints") as checkpoints:
        checkpoints.save(100, {"params": params, "batch_stats": {}}, {})
    with pytest.raises(
        ValueError, match=r"copy is a run whose fc1/kernel_0_0 has numbers that are"
    ):
        _ = trained(copied).variables


def test_model_costs_and_arrays_are_made_once(finished):
    found = trained(finished[0])
    assert found.model is found.model
    assert found.costs is found.costs
    assert found.variables is found.variables
