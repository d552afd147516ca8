import json
import shutil

import pytest

from experiments.publishing import publish, write
from experiments.reporting.trials import keep, read_sweeps
from experiments.runs import provenance
from kfc_jax.compress import Checkpoint
from tests.experiments import tiny

pytestmark = pytest.mark.usefixtures("tiny_installed")
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, compile_once):
    """A folder with a short run of the tiny network for every seed; not to be changed by a test."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        tiny.install(patch)
        for seed in SEEDS:
            fields = {"train__num_epochs": 1, "optimizer__warmup_epochs": 0.0, "seed": seed}
            tiny.train(tiny.config_of(**fields), folder / f"seed={seed}")
    return folder


@pytest.fixture
def run(runs):
    return runs / "seed=0"


@pytest.fixture
def copied(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


def result_of(run):
    return json.loads((run / "result.json").read_text())


def rows_of(card):
    """The cells of the first table of a card, by its first column."""
    lines = [line.strip("| ").split(" | ") for line in card.split("\n") if line.startswith("| ")]
    return {cells[0]: cells[1] for cells in lines if len(cells) == 2 and cells[0] != "---"}


def test_the_file_says_what_it_is(run, tmp_path):
    out = publish(run, tmp_path / "models" / "tiny")
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "model.safetensors"]
    found = Checkpoint.load(out / "model.safetensors")
    result = result_of(run)
    assert found.structures == {"fc1": "2:4x5*4x6"}
    assert found.variables["params"]["fc1"].keys() == {"bias", "kernel_0_0", "kernel_0_1"}
    model = json.loads((run / "config.json").read_text())["model"]
    assert found.metadata == {
        "model": model,
        "data": "tiny",
        "seed": 0,
        "test": {"error": result["test"]["error"], "examples": 20},
        "parameters": 2 * (4 * 5 + 4 * 6) + 30 + 30 * 4 + 4,
        "git_revision": result["git_revision"],
    }
    before = (out / "model.safetensors").read_bytes()
    assert (publish(run, out) / "model.safetensors").read_bytes() == before


def test_the_card_says_it_too(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = publish(run, "models/tiny")
    card, result = (out / "README.md").read_text(), result_of(run)
    rows, errors = rows_of(card), round(20 * result["test"]["error"])
    assert rows["test error"].startswith(f"{errors / 20:.2%}: {errors} of 20 test images (binomial")
    assert rows["parameters"].startswith("242 in total, 61.8% fewer than the 634 ")
    assert rows["size"].startswith(f"{(out / 'model.safetensors').stat().st_size:,} bytes")
    assert "(batch, 16, 16, 1)" in rows["input"]
    assert (rows["data"], rows["seed"]) == ("`tiny`", "0")
    assert "not known here" in rows["terms of the data"]
    assert rows["revision"] == f"`{result['git_revision']}`"
    assert 'load_published("models/tiny")' in card
    assert "fc1    kfc    2:4x5*4x6" in card
    assert "seeds" not in card


def test_runs_with_other_seeds_tell_how_much_seeds_matter(runs, run, tmp_path):
    other = tiny.config_of(train__num_epochs=1, optimizer__warmup_epochs=0.0, seed=9)
    other.optimizer.learning_rate = 0.01
    tiny.train(other, tmp_path / "other")
    errors = [100 * result_of(runs / f"seed={seed}")["test"]["error"] for seed in SEEDS]
    mean = sum(errors) / 3
    deviation = (sum((error - mean) ** 2 for error in errors) / 2) ** 0.5
    kept = tmp_path / "kept"
    kept.mkdir()
    keep(read_sweeps([runs]), kept)
    for folders in ([runs, tmp_path / "other"], [kept]):
        rows = rows_of((publish(run, tmp_path / "out", seeds=folders) / "README.md").read_text())
        assert rows["of 3 seeds"].startswith(f"{mean:.2f}% ± {deviation:.2f}, mean and standard")
        assert rows["of 3 seeds"].endswith("this is seed 0")
    with pytest.raises(
        ValueError, match=r"other: no finished run there has the config of .*seed=0"
    ):
        publish(run, tmp_path / "none", seeds=[tmp_path / "other"])
    assert not (tmp_path / "none").exists()


def test_the_command_is_the_one_of_the_runs_files(copied, tmp_path):
    def command_in_card(**arguments):
        card = (publish(copied, tmp_path / "out", **arguments) / "README.md").read_text()
        return card.partition("```bash\n")[2].partition("\n```")[0]

    result = result_of(copied)
    assert result["command"] == provenance.command()
    (copied / "result.json").write_text(json.dumps(result | {"command": "python train.py"}))
    assert command_in_card() == "python train.py"
    state = {"name": "copy", "overrides": {}, "state": "done", "command": "python a_trial.py"}
    (copied / "trial.json").write_text(json.dumps(state))
    assert command_in_card() == "python a_trial.py"
    assert command_in_card(command="python by_hand.py") == "python by_hand.py"

    (copied / "trial.json").unlink()
    (copied / "result.json").write_text(json.dumps(result | {"command": ""}))
    with pytest.raises(ValueError, match=r"copy does not say which command.*--command"):
        command_in_card()


def without_result(folder):
    (folder / "result.json").unlink()


def without_test(folder):
    result = result_of(folder) | {"test": None}
    (folder / "result.json").write_text(json.dumps(result))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_result, r"copy holds a run that is not finished"),
        (without_test, r"copy has no test error.*trains for no epoch"),
        (lambda folder: shutil.rmtree(folder / "checkpoints"), r"checkpoint is missing"),
    ],
)
def test_a_run_that_is_not_whole_is_refused(copied, tmp_path, change, message):
    change(copied)
    with pytest.raises(ValueError, match=message):
        publish(copied, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_large_file_is_published_on_purpose_alone(run, tmp_path, monkeypatch):
    size = (publish(run, tmp_path / "out") / "model.safetensors").stat().st_size
    assert write._LARGEST == 300_000
    monkeypatch.setattr(write, "_LARGEST", size)
    publish(run, tmp_path / "just")
    monkeypatch.setattr(write, "_LARGEST", size - 1)
    with pytest.raises(ValueError, match=rf"has {size:,} bytes, more than .*--any_size"):
        publish(run, tmp_path / "large")
    assert not (tmp_path / "large").exists()
    assert (publish(run, tmp_path / "large", any_size=True) / "model.safetensors").exists()
