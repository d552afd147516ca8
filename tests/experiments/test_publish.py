import numpy as np
import pytest

from configs import quickstart
from experiments.data import load
from experiments.models import load_published
from experiments.training import prepare, train_and_evaluate


@pytest.fixture
def run(tmp_path):
    """A run of a few steps, and its result."""
    config = quickstart.get_config()
    config.data.num_validation = 3_744  # leaves 256 images
    config.train.num_epochs = 1
    config.optimizer.warmup_epochs = 0.5
    return tmp_path / "run", train_and_evaluate(prepare(config, tmp_path / "run"))


def test_a_published_run_has_the_error_of_its_result(run, run_module, tmp_path):
    folder, result = run
    done = run_module("experiments.publish", str(folder), f"--out={tmp_path}/digits")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# digits\n")
    assert done.stdout.endswith(f"Published: {tmp_path}/digits\n")
    model, variables = load_published(tmp_path / "digits")
    test = load("mnist_5k").test
    logits = model.apply(variables, test.images.astype(np.float32) / 255, train=False)
    assert np.mean(np.argmax(logits, -1) != test.labels) == result["test"]["error"]


def test_mistakes_are_told_in_a_line(run_each, tmp_path):
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.json").write_text("{}")
    cases = {
        (): "error: flag --out=None",
        ("--out=x",): "error: There is one run to publish, and 0 were named: python -m",
        ("a", "b", "--out=x"): "error: There is one run to publish, and 2 were named",
        (tmp_path / "none", "--out=x"): "none is no folder; name the --workdir of a finished",
        (tmp_path / "begun", "--out=x"): "begun holds a run that is not finished",
    }
    imports = ("experiments.publishing", "experiments.system")
    ends = run_each("experiments.publish", cases, imports=imports)
    for end, message in zip(ends, cases.values(), strict=True):
        assert end.returncode == 1
        assert message in end.stderr
        assert "Traceback" not in end.stderr


def test_help_shows_how_to_publish_and_to_load(run_module):
    done = run_module("experiments.publish", "--help")
    assert done.returncode == 0
    for part in ("experiments.publish runs/mnist --out=", "load_published", "--[no]any_size"):
        assert part in done.stdout
