import json
import math

import pytest

from experiments.reporting import write_report
from experiments.reporting.trials import read_sweeps
from tests.experiments.reporting import folders


def one_trial(workdir):
    (trial,) = read_sweeps([workdir])
    return trial


def test_a_finished_sweep_is_read_in_the_order_of_its_plan(finished_sweep):
    trials = read_sweeps([finished_sweep])
    plan = json.loads((finished_sweep / "sweep.json").read_text())["trials"]
    assert [trial.name for trial in trials] == [entry["name"] for entry in plan]
    assert {trial.state for trial in trials} == {"done"}
    assert {trial.sweep for trial in trials} == {"mnist-ranks"}
    assert all(trial.command.startswith("python -m experiments.train") for trial in trials)
    assert [trial.seed for trial in trials] == [0, 1, 2] * len(folders.CASES)


def test_an_outcome_holds_what_result_json_says(tmp_path):
    folders.write_run(tmp_path / "a", folders.low_rank(3), 0, {"test": 0.02, "validation": 0.03})
    outcome = one_trial(tmp_path).outcome
    assert outcome.errors == {"test": 0.02, "validation": 0.03}
    assert outcome.examples == {"test": 10_000, "validation": 10_000}
    assert outcome.parameters == 431_080 - 400_000 + 3_900
    assert outcome.seconds == 5 + 20 + 2 + 1, "data_wait is a part of train"
    assert [layer.name for layer in outcome.layers] == ["conv1", "conv2", "fc1", "fc2"]


def test_settings_do_not_tell_a_run_from_one_before_there_were_all_fields(tmp_path):
    old, new = (
        folders.write_run(tmp_path / name, folders.DENSE, 0, {"test": 0.01}, **fields)
        for name, fields in (("old", {}), ("new", {"model__hidden": 500}))
    )
    assert one_trial(old).settings == one_trial(new).settings


def test_a_folder_of_runs_needs_no_plan(tmp_path):
    folders.write_run(tmp_path / "b", folders.DENSE, 0, {"test": 0.01})
    folders.write_run(tmp_path / "a", folders.low_rank(1), 0, {"test": 0.02})
    (tmp_path / "report").mkdir()
    trials = read_sweeps([tmp_path])
    assert [(trial.name, trial.state) for trial in trials] == [("a", "done"), ("b", "done")]


def test_a_single_run_is_a_trial(tmp_path):
    folders.write_run(tmp_path / "run", folders.DENSE, 5, {"test": 0.01})
    trial = one_trial(tmp_path / "run")
    assert (trial.name, trial.seed, trial.task) == ("run", 5, ("mnist", "lenet5"))


def test_the_curve_is_validation_error_by_epoch_and_survives_a_line_that_was_cut_off(tmp_path):
    run = folders.write_run(tmp_path / "a", folders.DENSE, 0, {"validation": 0.1})
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 999, "epo')
    trial = one_trial(tmp_path)
    assert trial.curve_split == "validation"
    assert [epoch for epoch, _ in trial.curve] == list(range(1, 11))
    assert trial.curve[-1][1] == pytest.approx(0.1)


def test_without_validation_the_curve_is_the_training_error(tmp_path):
    folders.write_run(tmp_path / "a", folders.DENSE, 0, {"test": 0.1})
    trial = one_trial(tmp_path)
    assert trial.curve_split == "train"
    assert len(trial.curve) == 10


@pytest.mark.parametrize("state", ["running", "failed", "stopped"])
def test_an_unfinished_trial_has_the_state_of_its_record_and_says_why(tmp_path, state):
    run = folders.write_run(tmp_path / "a", folders.DENSE, 0, {"test": 0.1}, is_finished=False)
    record = {"name": "a", "state": state, "attempts": 2, "error": "ValueError: no", "command": "c"}
    (run / "trial.json").write_text(json.dumps(record))
    trial = one_trial(tmp_path)
    assert (trial.state, trial.attempts, trial.outcome) == (state, 2, None)
    assert trial.problem.endswith("ValueError: no")
    assert ("came to step 120" in trial.problem) == (state != "failed")


def test_a_planned_trial_without_a_folder_is_pending(tmp_path):
    plan = {"trials": [{"name": "a,seed=0", "overrides": {"seed": 0}}]}
    (tmp_path / "sweep.json").write_text(json.dumps(plan))
    trial = one_trial(tmp_path)
    assert (trial.state, trial.seed, trial.task) == ("pending", 0, ("", ""))


@pytest.mark.parametrize("record", [None, {"state": "pending"}, {"state": "done"}])
def test_a_run_that_started_has_no_result_and_runs_no_more_is_unfinished(tmp_path, record):
    run = folders.write_run(tmp_path / "a", folders.DENSE, 0, {"test": 0.1}, is_finished=False)
    if record:
        (run / "trial.json").write_text(json.dumps(record))
    assert one_trial(tmp_path).state == "unfinished"


def test_a_result_beats_what_the_record_says(tmp_path):
    run = folders.write_run(tmp_path / "a", folders.DENSE, 0, {"test": 0.1})
    (run / "trial.json").write_text(json.dumps({"state": "failed", "error": "an earlier attempt"}))
    trial = one_trial(tmp_path)
    assert (trial.state, trial.problem) == ("done", "")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "cannot be read"),
        ("[]", "Expected object, got array"),
        ("{}", "KeyError: 'whole_model'"),
        ('{"test": {"error": NaN, "loss": 1, "examples": 1}}', "nan"),
    ],
)
def test_a_damaged_result_is_a_state_and_not_a_crash(tmp_path, content, reason):
    run = folders.write_run(tmp_path / "a", folders.DENSE, 0, {"test": 0.1})
    (run / "result.json").write_text(content)
    trial = one_trial(tmp_path)
    assert (trial.state, trial.outcome) == ("unreadable", None)
    assert reason in trial.problem


@pytest.mark.parametrize("plan", ["{", '{"trials": 5}', '{"trials": [{"name": ["a"]}]}', "[1]"])
def test_a_damaged_plan_leaves_the_folders(tmp_path, plan):
    folders.write_run(tmp_path / "a", folders.DENSE, 0, {"test": 0.1})
    (tmp_path / "sweep.json").write_text(plan)
    assert one_trial(tmp_path).state == "done"


def spoiled(run, file, change):
    """Changes a file of a run and returns the trial, which a report of others leaves out."""
    content = json.loads((run / file).read_text())
    change(content)
    (run / file).write_text(json.dumps(content))
    good = folders.write_run(run.parent / "good", folders.DENSE, 0, {"test": 0.1})
    write_report([run.parent], run.parent.parent / "report")
    bad, other = read_sweeps([run.parent])
    assert (other.folder, other.state) == (good, "done")
    return bad


@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        (
            "result.json",
            lambda r: r["layers"][0].update(structure=["a"]),
            "Expected str, got array",
        ),
        ("result.json", lambda r: r["layers"][0].update(flops=math.inf), "int, got float"),
        ("result.json", lambda r: r["whole_model"].update(parameters=math.inf), "Overflow"),
        ("result.json", lambda r: r.pop("seconds"), "KeyError: 'seconds'"),
        ("result.json", lambda r: r.update(seconds={"train": "x"}), "TypeError"),
        (
            "config.json",
            lambda c: c["train"].update(num_epochs="x"),
            "config.json is damaged: train.num_epochs: Expected int",
        ),
        (
            "config.json",
            lambda c: c["optimizer"].update(learning_rate=None, factor_gain="high"),
            "optimizer.factor_gain: Expected float",
        ),
        (
            "config.json",
            lambda c: c.update(distillation={"teacher": 5}),
            "distillation.teacher: Expected str",
        ),
    ],
)
def test_a_run_with_a_value_of_a_wrong_type_is_told_and_left_out(tmp_path, file, change, reason):
    run = folders.write_run(tmp_path / "runs/bad", folders.DENSE, 1, {"test": 0.1})
    trial = spoiled(run, file, change)
    assert (trial.state, trial.outcome) == ("unreadable", None)
    assert reason in trial.problem
    assert "\n" not in trial.problem
    assert str(tmp_path) not in trial.problem


def test_sweeps_of_one_name_are_told_apart(tmp_path):
    for parent in ("x", "y"):
        folders.write_run(tmp_path / parent / "ranks" / "a", folders.DENSE, 0, {"test": 0.1})
    paths = [tmp_path / "x" / "ranks", tmp_path / "y" / "ranks"]
    assert [trial.sweep for trial in read_sweeps(paths)] == list(map(str, paths))


def test_a_sweep_that_is_named_twice_counts_once(tmp_path):
    folders.write_run(tmp_path / "a", folders.DENSE, 0, {"test": 0.1})
    assert len(read_sweeps([tmp_path, tmp_path])) == 1


def test_no_folder_and_no_trial_are_errors_with_a_remedy(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere is no folder; name the --workdir"):
        read_sweeps([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match=r"holds no trial.* Name the --workdir"):
        read_sweeps([tmp_path])
    with pytest.raises(ValueError, match=r"nothing to report; name the --workdir"):
        read_sweeps([])


def test_a_source_of_each_seed_is_one_setting_and_no_source_is_none(tmp_path):
    def settings(name, seed, source):
        run = folders.write_run(tmp_path / name, folders.low_rank(3), seed, {"test": 0.1})
        config = json.loads((run / "config.json").read_text())
        config["compression"] = {"source": source, "weighted": seed != 1}
        (run / "config.json").write_text(json.dumps(config))
        return one_trial(run).settings

    first, second = (
        settings("a", 0, "runs/kind=dense,seed=0"),
        settings("b", 2, "runs/kind=dense,seed=2"),
    )
    assert first == second
    assert first["compression.weighted"] is True
    assert settings("c", 1, "runs/kind=dense,seed=1") != first
    assert settings("d", 0, "") == settings("e", 1, "")
    assert not any(name.startswith("compression") for name in settings("f", 0, ""))
