import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.runs import DIVERGED_EXIT_CODE
from experiments.system import lock_folder

QUICK = (
    "--config=configs/quickstart.py",
    "--config.data.num_validation=3840",  # leaves 160 images
    "--config.train.batch_size=16",
    "--config.train.log_every=1",
    "--config.train.num_epochs=2",
)


@pytest.fixture
def start(request, tmp_path_factory):
    """Starts the command; whatever still runs at the end is stopped."""
    started = []
    # A second run takes the first one's compiled programs.
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }

    def run(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "experiments.train", *arguments],
            cwd=request.config.rootpath,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def outcome(process):
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_mistakes_on_the_command_line_are_told_in_a_line(run_each, tmp_path):
    cases = {
        ("--workdir=x",): "flag --config=None: Flag --config must have a value",
        ("--config=configs/mnist.py",): "flag --workdir=None: Flag --workdir must have a value",
        ("--config=configs/none.py:small", "--workdir=x"): (
            f"error: --config=configs/none.py: there is no such file; paths start at {Path.cwd()}"
        ),
        (*QUICK, f"--workdir={tmp_path}", "extra"): "unexpected argument 'extra'",
        (*QUICK, f"--workdir={tmp_path}", "--config.train.epochs=1"): (
            "--config.train.epochs=1: the config has no field 'epochs'; perhaps 'num_epochs' was"
        ),
        (*QUICK, f"--workdir={tmp_path}", "--config.seed=half"): "flag --config.seed=half: invalid",
        ("--config=configs/svhn.py:smal", "--workdir=x"): "--config cannot be read: ",
        ("--config=configs/quickstart.py:small", "--workdir=x"): "--config cannot be read: ",
        ("--config=README.md", "--workdir=x"): "--config cannot be read: ",
        ("--config=configs/sweeps/mnist_ranks.py", "--workdir=x"): (
            "those of sweeps are for experiments.sweep"
        ),
        (*QUICK, f"--workdir={tmp_path}", "--config.model.fc1.structure=8:28x32*28x32"): (
            "layer fc1: Structure '8:28x32*28x32' gives a kernel of 784x1024"
        ),
    }
    imports = ("experiments.system", "experiments.training")
    ends = run_each("experiments.train", cases, imports=imports)
    for (arguments, message), end in zip(cases.items(), ends, strict=True):
        assert end.returncode != 0, arguments
        assert message in end.stderr, arguments
        assert "Traceback" not in end.stderr, arguments


def test_help_tells_what_to_type(start):
    code, out, _ = outcome(start("--help"))
    assert code == 0
    assert "python -m experiments.train --config=configs/mnist.py --workdir=runs/mnist" in out
    assert "--workdir" in out


def test_a_second_process_in_the_same_folder_is_refused(start, tmp_path):
    lock = lock_folder(tmp_path, ".training.lock")
    code, _, err = outcome(start(*QUICK, f"--workdir={tmp_path}"))
    lock.close()
    assert code == 1
    assert f"Another process ({os.getpid()} on" in err
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_run_that_diverges_says_so_by_its_exit_code(start, tmp_path):
    bad = "--config.optimizer.learning_rate=1e30"
    code, _, err = outcome(start(*QUICK, f"--workdir={tmp_path}", bad))
    assert code == DIVERGED_EXIT_CODE
    assert "Lower config.optimizer.learning_rate" in err
    assert "Traceback" not in err


def test_a_terminated_run_goes_on_and_a_finished_one_says_so(start, tmp_path):
    command = (*QUICK, f"--workdir={tmp_path}")
    process = start(*command)
    metrics = tmp_path / "metrics.jsonl"
    deadline = time.monotonic() + 90
    while not (metrics.exists() and metrics.read_text().count("\n") >= 3):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    code, _, err = outcome(process)
    assert code == 143
    assert "once more to stop at once" in err
    assert "SIGTERM stopped the run" in err

    code, out, err = outcome(start(*command))
    assert (code, err) == (0, "")
    assert "Going on from step" in out
    result = json.loads((tmp_path / "result.json").read_text())
    assert f"test error {result['test']['error']:.2%}" in out
    assert "fc1    kfc    2:16x20*50x25" in out
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == list(range(1, 21))

    code, out, _ = outcome(start(*command))
    assert code == 0
    assert "finished already" in out
