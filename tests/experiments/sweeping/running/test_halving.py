import json

import pytest

from configs import quickstart
from experiments.sweeping.running import runner
from experiments.sweeping.running.halving import SuccessiveHalving
from experiments.sweeping.running.trial_state import TrialState
from experiments.sweeping.trials import select


@pytest.fixture
def rivals(tmp_path):
    """Nine epochs each, rungs at the third and the first; all but `other` train one model."""
    configs = {}
    for name, rate in (("a", 1e-3), ("b", 2e-3), ("c", 4e-3), ("other", 1e-3)):
        config = quickstart.get_config()
        config.train.num_epochs, config.optimizer.learning_rate = 9, rate
        config.model.fc1.kind = "dense" if name == "other" else "kfc"
        configs[name] = config
        (tmp_path / name).mkdir()
    return SuccessiveHalving(tmp_path, configs)


def reach(tmp_path, name, epoch, error):
    with (tmp_path / name / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": epoch, "epoch": epoch, "validation/error": error}) + "\n")


def records(**states):
    return [TrialState(name, {}, "", state, attempts=1) for name, state in states.items()]


def test_the_worse_of_rivals_are_stopped_at_a_rung(tmp_path, rivals):
    running = records(a="running", b="running", c="running", other="running")
    assert rivals(running) == set()
    reach(tmp_path, "a", 1, 0.10)
    assert rivals(running) == set()  # the first at a rung always goes on
    reach(tmp_path, "b", 1, 0.20)
    reach(tmp_path, "c", 1, 0.05)
    assert rivals(running) == {"b"}
    assert rivals(running) == set()  # nobody is judged twice at a rung
    reach(tmp_path, "a", 2, 0.30)  # no rung
    assert rivals(running) == set()
    reach(tmp_path, "c", 3, 0.04)
    assert rivals(running) == set()
    reach(tmp_path, "a", 3, 0.09)
    assert rivals(running) == {"a"}


def test_another_model_is_no_rival(tmp_path, rivals):
    reach(tmp_path, "a", 1, 0.05)
    reach(tmp_path, "other", 1, 0.50)
    assert rivals(records(a="running", other="running")) == set()


def test_finished_rivals_count_but_are_not_stopped(tmp_path, rivals):
    reach(tmp_path, "a", 1, 0.05)
    reach(tmp_path, "b", 1, 0.10)
    assert rivals(records(a="done", b="running")) == {"b"}
    assert rivals(records(a="running", b="done")) == set()


def test_a_hopeless_trial_is_stopped_and_is_not_called_done(sweep, monkeypatch):
    sweep.behave(all={"steps": 15}, seed1={"steps": 15, "seconds": 0.1})

    def find_hopeless(found):
        return {r.name for r in found if r.name == "seed=1" and sweep.steps(1)} & {
            r.name for r in found if r.state == "running"
        }

    monkeypatch.setattr(runner, "SuccessiveHalving", lambda *_: find_hopeless)
    for _ in range(2):  # started again, it stays stopped
        states = [r.state for r in sweep.run(count=3, early_stopping=True)]
        assert states == ["done", "stopped", "done"]
        assert sweep.record(1)["state"] == "stopped"
        assert len(sweep.starts(1)) == 1
    # Without early stopping it is trained to its end, from its checkpoint.
    (record,) = sweep.run(count=3, trials=select(sweep.plan(3).trials, "seed=1"))
    assert record.state == "done"
    assert sweep.steps(1) == list(range(1, 16))
