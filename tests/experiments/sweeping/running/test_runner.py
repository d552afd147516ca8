import errno
import json
import os
import signal
import threading

import pytest

from experiments.runs import DIVERGED, DIVERGED_EXIT_CODE
from experiments.sweeping.running import SweepInterrupted, preview
from experiments.sweeping.trials import select


def test_a_sweep_ends_with_all_trials_done_and_says_so_in_its_files(sweep, capsys):
    records = sweep.run(count=3)
    assert [record.state for record in records] == ["done"] * 3
    plan = json.loads((sweep.workdir / "sweep.json").read_text())
    assert plan["config"] == "fake"
    assert plan["base"] == "configs/mnist.py"
    assert plan["trials"] == [{"name": f"seed={i}", "overrides": {"seed": i}} for i in range(3)]
    record = sweep.record(1)
    assert record["state"] == "done"
    assert record["attempts"] == 1
    assert record["error"] is None
    assert record["started"] <= record["finished"]
    assert record["command"] == (
        "python -m experiments.train --config=configs/mnist.py "
        f"--workdir={sweep.workdir}/seed=1 --config.seed=1"
    )
    assert "3 of 3 trials are done" in capsys.readouterr().out


def test_started_again_a_finished_sweep_runs_nothing(sweep):
    sweep.run(count=2)
    sweep.run(count=2)
    assert [len(sweep.starts(seed)) for seed in range(2)] == [1, 1]


def test_a_longer_plan_keeps_what_is_done(sweep):
    sweep.run(count=2)
    sweep.run(count=3)
    assert [len(sweep.starts(seed)) for seed in range(3)] == [1, 1, 1]


def test_only_the_selected_trials_run_but_all_are_planned(sweep):
    sweep.run(count=4, trials=select(sweep.plan(4).trials, "seed=2"))
    assert [len(sweep.starts(seed)) for seed in range(4)] == [0, 0, 1, 0]
    assert len(json.loads((sweep.workdir / "sweep.json").read_text())["trials"]) == 4


def test_a_failing_trial_is_tried_again_from_its_checkpoint(sweep):
    sweep.behave(seed1={"steps": 4, "failures": 1})
    sweep.run(count=3)
    assert sweep.record(1)["state"] == "done"
    assert sweep.record(1)["attempts"] == 2
    assert sweep.record(1)["error"] is None
    assert sweep.steps(1) == [1, 2, 3, 4]


def test_a_trial_that_goes_on_failing_is_reported_with_the_end_of_its_log(sweep, capsys):
    sweep.behave(seed0={"failures": 99})
    records = sweep.run(count=3, max_attempts=2)
    assert [record.state for record in records] == ["failed", "done", "done"]
    record = sweep.record(0)
    assert record["attempts"] == 2
    assert "exit code 1" in record["error"]
    assert record["error"].endswith("ValueError: the fake reason\n")
    assert "seed=0 failed (attempt 2)." in (out := capsys.readouterr().out)
    assert "the fake reason" in out


def test_why_a_trial_failed_is_written_as_a_word_where_the_exit_code_tells_it(sweep):
    sweep.behave(seed0={"failures": 99, "exit code": DIVERGED_EXIT_CODE}, seed1={"failures": 99})
    sweep.run(count=3, max_attempts=1)
    assert [sweep.record(seed)["reason"] for seed in range(3)] == [DIVERGED, None, None]
    assert "exit code 3" in sweep.record(0)["error"]
    sweep.behave()
    sweep.run(count=3)
    assert [sweep.record(seed)["reason"] for seed in range(3)] == [None] * 3


def test_a_state_from_before_there_were_reasons_gets_its_reason(sweep):
    sweep.behave(seed0={"failures": 99})
    sweep.run(count=1, max_attempts=1)
    before = sweep.record(0)
    del before["reason"]
    before["error"] = "error: The loss is nan. Lower config.optimizer.learning_rate."
    (sweep.workdir / "seed=0" / "trial.json").write_text(json.dumps(before))
    plan = sweep.plan(1)
    (state,) = preview(plan, plan.trials, sweep.workdir)
    assert (state.state, state.reason) == ("failed", DIVERGED)


def test_started_again_a_failed_trial_gets_new_attempts(sweep):
    sweep.behave(seed0={"failures": 99})
    sweep.run(count=1, max_attempts=2)
    sweep.behave()
    (record,) = sweep.run(count=1, max_attempts=2)
    assert record.state == "done"
    assert record.attempts == 3


def test_a_worker_that_is_killed_is_started_again_where_it_was(sweep, wait_until):
    sweep.behave(seed0={"steps": 30, "seconds": 0.02})

    def kill():
        wait_until(lambda: len(sweep.steps(0)) >= 5)
        os.kill(sweep.starts(0)[0][0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    (record,) = sweep.run(count=1)
    killer.join()
    assert record.state == "done"
    assert record.attempts == 2
    (_, first), (_, second) = sweep.starts(0)
    assert first == 0
    assert second >= 4
    assert len(sweep.steps(0)) <= 31  # one step at most lay between its file and its checkpoint


def test_a_program_that_ends_without_a_result_has_failed(sweep):
    (record,) = sweep.run(count=1, max_attempts=1, program=("true",))
    assert record.state == "failed"
    assert "without a result" in record.error


def test_a_program_that_cannot_be_started_has_failed(sweep):
    (record,) = sweep.run(count=1, max_attempts=1, program=("/no/such/program",))
    assert record.state == "failed"
    assert "could not be started" in record.error


def test_a_folder_of_another_sweep_is_refused(sweep):
    sweep.run(count=1)
    (sweep.workdir / "sweep.json").write_text(json.dumps({"config": "configs/sweeps/other.py"}))
    with pytest.raises(ValueError, match=r"holds the sweep configs/sweeps/other\.py, not fake"):
        sweep.run(count=1)


def test_a_folder_that_was_begun_before_the_sweep_config_moved_goes_on(sweep):
    sweep.run(count=1)
    plan = json.loads((sweep.workdir / "sweep.json").read_text())
    moved = plan | {"config": "configs/sweeps/old.py:variant"}
    (sweep.workdir / "sweep.json").write_text(json.dumps(moved))
    sweep.run(count=2)  # the config has got another trial since
    now = json.loads((sweep.workdir / "sweep.json").read_text())
    assert now["config"] == plan["config"]
    assert len(sweep.starts(0)) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"base": "configs/other.py"},
        {"trials": []},
        {"trials": [{"name": "seed=7", "overrides": {}}]},
    ],
)
def test_a_folder_of_a_sweep_with_another_base_or_other_trials_is_refused(sweep, other):
    sweep.run(count=1)
    plan = json.loads((sweep.workdir / "sweep.json").read_text())
    (sweep.workdir / "sweep.json").write_text(json.dumps(plan | {"config": "old.py"} | other))
    with pytest.raises(ValueError, match=r"holds the sweep old\.py, not fake"):
        sweep.run(count=1)


def test_a_finished_run_with_another_config_is_refused(sweep):
    sweep.run(count=1)
    (sweep.workdir / "seed=0" / "config.json").write_text('{"seed": 7}')
    with pytest.raises(ValueError, match=r"config\.seed was 7 and is now 0"):
        sweep.run(count=1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: '{"name": ', "Expecting value"),
        (
            lambda text: text.replace('"attempts": 1', '"attempts": null'),
            "int, got null, in .attempts",
        ),
        (lambda text: text.replace('"seconds": ', '"seconds": "x", "s": '), "str, in .seconds"),
    ],
)
def test_a_damaged_record_costs_nothing(sweep, change, reason, caplog):
    sweep.run(count=1)
    path = sweep.workdir / "seed=0" / "trial.json"
    path.write_text(change(path.read_text()))
    sweep.run(count=1)
    assert reason in caplog.text
    assert f"{path} is damaged" in caplog.text
    assert sweep.record(0)["state"] == "done"
    assert len(sweep.starts(0)) == 1


def test_on_a_full_disk_the_sweep_stops_with_a_remedy_and_goes_on_later(
    sweep, wait_until, monkeypatch
):
    sweep.behave(all={"steps": 40, "seconds": 0.02}, seed0={"steps": 3})
    # The runner's next record after the start is that of seed 0 when it is done.
    full, original = threading.Event(), os.fsync

    def fsync(descriptor):
        if full.is_set() and "seed=0/trial.json" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)

    def fill():
        wait_until(lambda: sweep.steps(0))
        full.set()

    filler = threading.Thread(target=fill)
    filler.start()
    with pytest.raises(OSError, match=r"is full\. Free some space, then start the same command"):
        sweep.run(count=2)
    filler.join()
    assert sweep.record(0)["state"] == "running"  # the old record, whole
    assert 0 < len(sweep.steps(1)) < 40  # stopped, its state saved
    full.clear()
    assert [record.state for record in sweep.run(count=2)] == ["done", "done"]
    assert len(sweep.starts(0)) == 1
    assert sweep.steps(1) == list(range(1, 41))


def test_a_trial_that_finds_the_disk_full_fails_alone(sweep):
    folder = sweep.workdir / "seed=0"
    folder.mkdir()
    (folder / "steps").symlink_to("/dev/full")
    records = sweep.run(count=2, max_attempts=1)
    assert [record.state for record in records] == ["failed", "done"]
    assert "No space left on device" in records[0].error


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_sweep_and_its_trials_save_their_state(sweep, wait_until, signum):
    sweep.behave(all={"steps": 50, "seconds": 0.02})

    def interrupt():
        wait_until(lambda: sweep.steps(0) and sweep.steps(1))
        os.kill(os.getpid(), signum)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(SweepInterrupted, match=f"{signal.Signals(signum).name} stopped the sweep"):
        sweep.run(count=3)
    thread.join()
    assert [sweep.record(seed)["state"] for seed in range(3)] == ["pending"] * 3
    assert "stopped at" in sweep.read(0, "log.txt")
    for seed in range(2):
        with pytest.raises(ProcessLookupError):
            os.kill(sweep.starts(seed)[0][0], 0)
    sweep.behave(all={"steps": 50})
    assert [record.state for record in sweep.run(count=3)] == ["done"] * 3
    assert sweep.steps(0) == list(range(1, 51))


def test_trials_share_one_compilation_cache(sweep, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    show = ("sh", "-c", "env")
    (record,) = sweep.run(count=1, max_attempts=1, program=show)
    assert f"JAX_COMPILATION_CACHE_DIR={sweep.workdir}/compilation_cache\n" in record.error
