"""The runner as a process of its own, killed or doubled."""

import os
import signal


def test_a_killed_runner_loses_nothing_and_runs_nothing_twice(sweep, wait_until, request):
    sweep.behave(all={"steps": 60, "seconds": 0.05}, seed0={"steps": 2}, seed1={"steps": 120})
    first = sweep.spawn(count=4, parallel=2, root=request.config.rootpath)
    wait_until(lambda: sweep.read(0, "result.json") and sweep.steps(2))
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    survivors = [sweep.starts(1)[0][0], sweep.starts(2)[0][0]]
    for pid in survivors:
        os.kill(pid, 0)  # they train on
    assert sweep.record(1)["state"] == "running"

    records = sweep.run(count=4)  # while they do
    assert [record.state for record in records] == ["done"] * 4
    assert not sweep.overlaps()
    # No step was lost or done twice, and nobody was started a second time.
    for seed, steps in enumerate([2, 120, 60, 60]):
        assert sweep.steps(seed) == list(range(1, steps + 1))
        assert len(sweep.starts(seed)) == 1


def test_killed_with_all_its_trials_a_sweep_resumes_from_their_checkpoints(
    sweep, wait_until, request
):
    sweep.behave(all={"steps": 60, "seconds": 0.05})
    first = sweep.spawn(count=2, parallel=2, root=request.config.rootpath)
    wait_until(lambda: len(sweep.steps(0)) > 2 and len(sweep.steps(1)) > 2)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    for seed in range(2):
        os.kill(sweep.starts(seed)[0][0], signal.SIGKILL)
    sweep.behave(all={"steps": 60})
    assert [record.state for record in sweep.run(count=2)] == ["done", "done"]
    for seed in range(2):
        assert sweep.starts(seed)[1][1] >= 2  # not from the start
        assert sorted(set(sweep.steps(seed))) == list(range(1, 61))
    assert not sweep.overlaps()


def test_a_second_runner_is_refused_and_the_first_goes_on(sweep, wait_until, request):
    sweep.behave(all={"steps": 20, "seconds": 1.0})  # the second one may take long to start
    first = sweep.spawn(count=2, parallel=1, root=request.config.rootpath)
    wait_until(lambda: sweep.steps(0))
    second = sweep.spawn(count=2, parallel=1, root=request.config.rootpath)
    output, _ = second.communicate(timeout=60)
    assert second.returncode == 1
    assert f"Another process ({first.pid} on" in output
    sweep.behave(all={"steps": 20})
    output, _ = first.communicate(timeout=60)
    assert first.returncode == 0, output
    assert not sweep.overlaps()
    assert [len(sweep.starts(seed)) for seed in range(2)] == [1, 1]


def test_stopping_reaches_a_trial_that_outlived_an_earlier_runner(sweep, wait_until, request):
    sweep.behave(all={"steps": 600, "seconds": 0.05})
    for kill in (signal.SIGKILL, signal.SIGINT):
        runner = sweep.spawn(count=1, parallel=1, root=request.config.rootpath)
        wait_until(lambda: sweep.steps(0) and sweep.record(0)["state"] == "running")
        if kill == signal.SIGINT:
            wait_until(lambda: sweep.record(0)["attempts"] == 2)
        os.kill(runner.pid, kill)
        output, _ = runner.communicate(timeout=60)
    assert runner.returncode == 130, output
    assert "stopped at" in sweep.read(0, "log.txt")
    assert len(sweep.starts(0)) == 1
    assert sweep.record(0)["state"] == "pending"
