"""Reports are made anew from what earlier ones kept."""

import dataclasses
import json
import shutil

import pytest

from experiments.reporting import write_report
from experiments.reporting.trials import read_sweeps
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
