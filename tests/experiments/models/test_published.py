import re

import jax
import numpy as np
import pytest

from experiments.models import load_published
from experiments.publishing import publish
from experiments.runs import read_run
from experiments.training import TrainedModel
from kfc_jax.compress import Checkpoint
from tests.experiments import tiny

pytestmark = pytest.mark.usefixtures("compile_once", "tiny_installed")

CONVNET = {
    **{"name": "convnet", "channels": ((4,), (6,)), "first_kernel": 3, "hidden": 30},
    **{"dropout": 0.1, "image_shape": (16, 16, 1), "num_classes": 4},
}


def config_of(name):
    """A short run of a network whose fields are numbers, or of one with nested tuples and norms."""
    config = tiny.config_of(train__num_epochs=1, optimizer__warmup_epochs=0.0)
    if name == "convnet":
        layers = {"fc1": config.model.fc1, "fc2": config.model.fc2}
        config.model = CONVNET | layers
        config.model.fc1.structure = "2:4x5*24x6"
    return config


def published(name, tmp_path):
    """A run of a network, its result, and the folder of its published model."""
    result = tiny.train(config_of(name), tmp_path / "run")
    return read_run(tmp_path / "run"), result, publish(tmp_path / "run", tmp_path / "models" / name)


@pytest.mark.parametrize("name", ["tiny", "convnet"])
def test_a_loaded_model_gives_the_logits_and_the_error_of_its_run(name, tmp_path):
    run, result, folder = published(name, tmp_path)
    model, variables = load_published(folder)
    test = tiny.load().test
    images = test.images.astype(np.float32) / 255
    logits = np.asarray(model.apply(variables, images, train=False))
    assert np.mean(logits.argmax(-1) != test.labels) == result["test"]["error"]

    trained = TrainedModel(run)
    expected = np.asarray(trained.model.apply(trained.variables, images, train=False))
    assert logits.tobytes() == expected.tobytes()
    assert ("batch_stats" in variables) == (name == "convnet")
    assert model == trained.model


@pytest.mark.parametrize(
    ("document", "line"),
    [
        ("README.md", r"`([^`\n]*load_published[^`\n]*)`"),
        ("docs/training.md", r"^([^`\n]*load_published.*)$"),
    ],
)
def test_the_two_lines_of_the_documents_load_a_model(
    document, line, tmp_path, monkeypatch, pytestconfig
):
    text = (pytestconfig.rootpath / document).read_text()
    code = re.findall(line, text, re.MULTILINE)
    assert len(code) == 2
    (run, out) = re.findall(r"experiments\.publish (\S+) --out=(\S+)", text)[0]
    monkeypatch.chdir(tmp_path)
    tiny.train(config_of("tiny"), run)
    publish(run, out)
    names = {}
    exec("\n".join(code), names)
    assert names["model"].apply(names["variables"], tiny.load().test.images / 255.0).shape == (
        20,
        4,
    )


def test_a_file_of_something_else_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing/model\.safetensors"):
        load_published(tmp_path / "nothing")
    params = {"fc": {"bias": np.zeros(3, np.float32)}}
    for metadata, message in [
        ({}, r"does not say which model it is of \(KeyError: 'model'\): take a file that"),
        ({"model": {"name": "vgg"}}, r"ValueError: model\.name is 'vgg'.*of its git revision"),
        ({"model": 3}, r"does not say which model"),
    ]:
        Checkpoint({"params": params}, {}, metadata).save(tmp_path / "model.safetensors")
        with pytest.raises(ValueError, match=message) as caught:
            load_published(tmp_path)
        assert str(caught.value).startswith(f"{tmp_path}/model.safetensors")


def test_arrays_of_another_model_are_refused_by_its_layers(tmp_path):
    _, _, folder = published("tiny", tmp_path)
    path = folder / "model.safetensors"
    checkpoint = Checkpoint.load(path)
    metadata = checkpoint.metadata
    metadata["model"]["hidden"] = 60
    Checkpoint(checkpoint.variables, checkpoint.structures, metadata).save(path)
    model, variables = load_published(folder)
    with pytest.raises(Exception, match="needs 16x60"):
        model.apply(variables, jax.numpy.zeros((1, 16, 16, 1)))
