import json

import pytest

# One step of two trials, on the real data set that needs no download.
SWEEP = """
BASE = "configs/quickstart.py"
TINY = {"data.num_validation": 3900, "train.batch_size": 100, "train.eval_batch_size": 1000}

def sweep():
    for fc1 in ({"model.fc1.kind": "dense"}, {"model.fc1.structure": "1:16x20*50x25"}):
        yield TINY | fc1 | {"train.num_epochs": 1, "optimizer.warmup_epochs": 0.0}
"""


@pytest.fixture
def sweep(tmp_path, run_module):
    """Runs the command; without --config, on a tiny sweep."""
    config = tmp_path / "tiny_sweep.py"
    config.write_text(SWEEP)

    def run(*flags, config=config):
        return run_module("experiments.sweep", f"--config={config}", *flags)

    return run


def test_a_sweep_of_real_runs_ends_with_results_and_a_report(sweep, tmp_path):
    workdir = tmp_path / "runs"
    outcome = sweep(f"--workdir={workdir}")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "2 of 2 trials are done" in outcome.stdout
    plan = json.loads((workdir / "sweep.json").read_text())
    parameters = []
    for trial in plan["trials"]:
        folder = workdir / trial["name"]
        result = json.loads((folder / "result.json").read_text())
        parameters.append(result["whole_model"]["parameters"])
        assert json.loads((folder / "trial.json").read_text())["state"] == "done"
        assert list(folder.glob("events.out.tfevents.*.hparams"))
        assert "test error" in (folder / "log.txt").read_text()
    assert parameters == [431_080, 431_080 - 400_000 + 16 * 20 + 50 * 25]
    assert any((workdir / "compilation_cache").iterdir())
    assert (workdir / "report" / "index.html").exists()

    again = sweep(f"--workdir={workdir}", "--dry_run")
    assert again.returncode == 0
    assert "2 trials, 2 of them done; nothing was run." in again.stdout


def test_a_dry_run_shows_names_and_commands_and_leaves_nothing(sweep, tmp_path):
    workdir = tmp_path / "runs"
    outcome = sweep(
        f"--workdir={workdir}", "--dry_run", config="configs/sweeps/mnist_ranks.py:quick"
    )
    assert outcome.returncode == 0, outcome.stderr
    commands = [line for line in outcome.stdout.splitlines() if "experiments.train" in line]
    assert len(commands) >= 24
    assert all("--config=configs/quickstart.py" in command for command in commands)
    assert not workdir.exists()


def test_mistakes_are_told_in_a_line(run_each, tmp_path):
    broken, tiny = tmp_path / "broken.py", tmp_path / "tiny_sweep.py"
    broken.write_text('BASE = "configs/mnist.py"\ndef sweep(): yield {"model.fc1.rnk": 1}')
    tiny.write_text(SWEEP)
    cases = {
        ("--config=configs/sweeps/none.py",): "there is no such sweep config",
        (f"--config={broken}",): "has no field 'model.fc1.rnk'",
        (f"--config={tiny}", "--filter=nothing"): "--filter=nothing fits none",
    }
    runs = [(*flags, f"--workdir={tmp_path / 'runs'}") for flags in cases]
    imports = ("experiments.sweeping.running", "experiments.system")
    ends = run_each("experiments.sweep", runs, imports=imports)
    for end, message in zip(ends, cases.values(), strict=True):
        assert end.returncode == 1
        assert end.stderr.startswith("error: ")
        assert message in end.stderr
        assert len(end.stderr.splitlines()) == 1
