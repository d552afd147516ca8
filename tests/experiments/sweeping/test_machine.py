import os
import subprocess
import sys

import pytest

from experiments.sweeping import machine
from experiments.sweeping.attempt import Attempt, Job
from experiments.sweeping.machine import Share, shares


def test_without_gpus_there_is_one_trial_per_core():
    assert [share.cores for share in shares(0, (0, 2, 5), ())] == [(0,), (2,), (5,)]


def test_with_gpus_there_is_one_trial_per_gpu():
    parts = shares(0, tuple(range(8)), ("0", "1"))
    assert [part.env["CUDA_VISIBLE_DEVICES"] for part in parts] == ["0", "1"]
    assert [part.cores for part in parts] == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in parts[0].env


@pytest.mark.parametrize("cores", range(1, 9))
@pytest.mark.parametrize("parallel", range(1, 6))
def test_cores_are_divided_whole_and_evenly(cores, parallel):
    parts = [share.cores for share in shares(parallel, tuple(range(cores)), ())]
    assert len(parts) == parallel
    sizes = [len(part) for part in parts]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1
    assert {core for part in parts for core in part} == set(range(cores))
    if parallel <= cores:
        assert sum(sizes) == cores


def test_more_trials_than_gpus_share_their_memory():
    parts = shares(4, (0, 1), ("0", "1"))
    assert [part.env["CUDA_VISIBLE_DEVICES"] for part in parts] == ["0", "1", "0", "1"]
    assert {part.env["XLA_PYTHON_CLIENT_MEM_FRACTION"] for part in parts} == {"0.45"}


def test_a_negative_number_of_trials_is_refused():
    with pytest.raises(ValueError, match="--parallel is -1"):
        shares(-1, (0,), ())


def test_gpus_are_those_that_jax_would_use(monkeypatch):
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: object())
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    assert machine.available_gpus() == ("1", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.available_gpus() == ()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert machine.available_gpus() == ()
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    listed = subprocess.CompletedProcess([], 0, stdout="0\n1\n2\n")
    monkeypatch.setattr(machine.subprocess, "run", lambda *a, **k: listed)
    assert machine.available_gpus() == ("0", "1", "2")


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot pin processes")
def test_a_trial_keeps_to_its_cores_and_the_runner_does_not(tmp_path):
    before = os.sched_getaffinity(0)
    core = max(before)
    code = "import os; print(os.sched_getaffinity(0), os.environ['PJRT_NPROC'], flush=True)"
    job = Job("t", tmp_path, (sys.executable, "-c", code), tmp_path, {})
    attempt = Attempt(job, Share((core,), machine.core_limits(1)))
    while (outcome := attempt.poll()) is None:
        pass
    assert f"{{{core}}} 1" in outcome.error
    assert os.sched_getaffinity(0) == before
