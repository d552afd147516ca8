import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.sweeping import seeds
from experiments.sweeping.running.executors import LocalExecutor
from experiments.sweeping.running.plan import Plan
from experiments.sweeping.running.runner import run_sweep
from experiments.sweeping.running.shares import Share
from experiments.sweeping.trials import name_trials

HERE = Path(__file__).parent
FAKE = (sys.executable, "-I", str(HERE / "fake_train.py"))


class FakeSweep:
    """A sweep over seeds whose trials are fakes; see fake_train.py for their behaviour."""

    def __init__(self, workdir: Path):
        self.workdir = workdir

    def behave(self, **by_seed):
        text = json.dumps({key.removeprefix("seed"): value for key, value in by_seed.items()})
        (self.workdir / "behaviour.json").write_text(text)

    def plan(self, count):
        return Plan("fake", "configs/mnist.py", name_trials(seeds(count)))

    def run(self, count=3, parallel=2, trials=None, executor=None, **options):
        plan = self.plan(count)
        return run_sweep(
            plan,
            plan.trials if trials is None else trials,
            self.workdir,
            executor or (lambda: LocalExecutor([Share()] * parallel)),
            **{"program": FAKE, **options},
        )

    def spawn(self, count, parallel, root):
        """Starts the sweep in a process of its own."""
        return subprocess.Popen(
            [sys.executable, HERE / "run_fake_sweep.py", self.workdir, str(count), str(parallel)],
            cwd=root,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def read(self, seed, name):
        path = self.workdir / f"seed={seed}" / name
        return path.read_text() if path.exists() else ""

    def record(self, seed):
        return json.loads(self.read(seed, "trial.json"))

    def steps(self, seed):
        return [int(step) for step in self.read(seed, "steps").split()]

    def starts(self, seed):
        """The process and the first step of every start of the trial."""
        return [tuple(map(int, line.split())) for line in self.read(seed, "starts").splitlines()]

    def overlaps(self):
        return list(self.workdir.glob("*/OVERLAP"))


@pytest.fixture
def sweep(tmp_path, monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    return FakeSweep(tmp_path)


@pytest.fixture
def wait_until():
    def wait(condition, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.01)

    return wait
