"""Reports are made anew from what earlier ones kept."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from experiments.reporting import write_report
from experiments.reporting.trials import read_sweeps
from experiments.runs import predictions
from tests.experiments.reporting import folders


def test_a_report_is_made_anew_without_the_runs(finished_sweep, tmp_path):
    sweep = shutil.copytree(finished_sweep, tmp_path / finished_sweep.name)
    first = write_report([sweep], tmp_path / "first")
    trials = read_sweeps([sweep])
    shutil.rmtree(sweep)
    assert write_report([tmp_path / "first"], tmp_path / "second") == first
    kept = read_sweeps([tmp_path / "second"])
    somewhere = {"folder": None}
    assert [dataclasses.asdict(t) | somewhere for t in kept] == [
        dataclasses.asdict(t) | somewhere for t in trials
    ]
    for name in ("summary.md", "groups.csv"):
        assert (tmp_path / "first" / name).read_text() == (tmp_path / "second" / name).read_text()


def test_predictions_are_kept_with_the_runs(tmp_path):
    runs = tmp_path / "runs"
    for seed, wrong in ((0, 1), (1, 2), (2, None)):  # the last is of before predictions were kept
        folder = runs / str(seed)
        folders.write_run(folder, folders.DENSE, seed, {"test": 0.01})
        if wrong is not None:
            labels = np.arange(9)
            predicted = np.where(labels < wrong, 0 * labels + 8, labels)
            its = predictions.Predictions.of(labels, predicted, np.full(9, 0.5))
            predictions.write(folder / "predictions.npz", {"test": its})
    write_report([runs], tmp_path / "kept")
    write_report([tmp_path / "kept"], tmp_path / "again")
    for place in (runs, tmp_path / "kept", tmp_path / "again"):
        found = {trial.seed: trial.predicted for trial in read_sweeps([place])}
        assert {seed: its["test"].errors for seed, its in found.items() if its} == {0: 1, 1: 2}
        assert not found[2]


def test_damaged_predictions_cost_no_report(tmp_path):
    folders.write_run(tmp_path / "runs" / "a", folders.DENSE, 0, {"test": 0.01})
    (tmp_path / "runs" / "a" / "predictions.npz").write_text("no archive")
    (trial,) = read_sweeps([tmp_path / "runs"])
    assert trial.outcome
    assert not trial.predicted
    assert "predictions.npz is damaged" in trial.problem


def test_kept_trials_and_new_ones_make_one_report(tmp_path):
    folders.write_run(tmp_path / "old" / "a", folders.DENSE, 0, {"test": 0.01})
    write_report([tmp_path / "old"], tmp_path / "kept")
    folders.write_run(tmp_path / "new" / "a", folders.DENSE, 1, {"test": 0.02})
    assert [t.seed for t in read_sweeps([tmp_path / "kept", tmp_path / "new"])] == [0, 1]


@pytest.mark.parametrize("damage", ["{", "[]", json.dumps({"sweep": "a"})])
def test_a_damaged_line_is_named(tmp_path, damage):
    (tmp_path / "runs.jsonl").write_text(f"{damage}\n")
    with pytest.raises(ValueError, match=r"runs.jsonl, line 1, is damaged .*write the report"):
        read_sweeps([tmp_path])
