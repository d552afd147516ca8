import os
import sys

import pytest

from experiments.sweeping.running.attempt import Attempt, Job
from experiments.sweeping.running.shares import Share, core_limits, shares


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


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot pin processes")
def test_a_trial_keeps_to_its_cores_and_the_runner_does_not(tmp_path):
    before = os.sched_getaffinity(0)
    core = max(before)
    code = "import os; print(os.sched_getaffinity(0), os.environ['PJRT_NPROC'], flush=True)"
    job = Job("t", tmp_path, (sys.executable, "-c", code), tmp_path, {})
    attempt = Attempt(job, Share((core,), core_limits(1)))
    while (outcome := attempt.poll()) is None:
        pass
    assert f"{{{core}}} 1" in outcome.error
    assert os.sched_getaffinity(0) == before
