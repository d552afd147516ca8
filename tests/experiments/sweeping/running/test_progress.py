import io
import json
import os

import pytest

from experiments.sweeping.running.progress import (
    SweepProgress,
    last_metrics,
    seconds_left,
    status_line,
)
from experiments.sweeping.running.trial_state import TrialState


def record(name, state, seconds=0.0):
    return TrialState(name, {}, "", state=state, seconds=seconds)


RECORDS = [
    record("a", "done", 10.0),
    record("b", "done", 30.0),
    record("c", "running"),
    record("d", "running"),
    record("e", "pending"),
    record("f", "pending"),
    record("g", "failed"),
]


def test_time_left_counts_the_rest_of_what_runs_and_all_that_waits():
    # mean 20 s: 15 s of c are left, none of d, 2 * 20 s wait; two at once
    assert seconds_left(RECORDS, {"c": 5.0, "d": 25.0}, slots=2) == pytest.approx(55 / 2)
    assert seconds_left(RECORDS[2:], {"c": 5.0}, slots=2) is None


def test_the_line_says_what_is_done_and_where_the_running_ones_are(tmp_path):
    (tmp_path / "c").mkdir()
    lines = [{"step": 900, "validation/error": 0.02}, {"step": 1000, "train/error": 0.015}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "c" / "metrics.jsonl").write_text(text + '{"step": 11')
    line = status_line(RECORDS, {"c": 5.0, "d": 25.0}, 2, tmp_path)
    assert line == (
        "2/7 done, 2 running, 1 failed, 0:28 left | c: step 1,000, train/error 1.50% | d: starts"
    )


def test_the_newest_metrics_are_found_in_a_long_file(tmp_path):
    lines = (json.dumps({"step": step, "padding": "x" * 90}) for step in range(2_000))
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert last_metrics(tmp_path)["step"] == 1_999
    assert last_metrics(tmp_path / "none") == {}


def test_a_log_gets_whole_lines_now_and_then(tmp_path):
    stream = io.StringIO()
    progress = SweepProgress(tmp_path, 1, stream)
    for _ in range(5):
        progress.update(RECORDS, {})
    progress.say("a: done")
    progress.close()
    status, event = stream.getvalue().splitlines()
    assert status.startswith("2/7 done")
    assert event == "a: done"


def test_a_terminal_gets_one_line_that_is_written_over(tmp_path, monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: True
    stream.fileno = lambda: 1
    monkeypatch.setattr("os.get_terminal_size", lambda fd: os.terminal_size((30, 9)))
    progress = SweepProgress(tmp_path, 1, stream)
    progress.update(RECORDS, {})
    progress.say("a: done")
    progress.close()
    line = "2/7 done, 2 running, 1 failed, 0:40 left"[:29]
    assert stream.getvalue() == f"\r\x1b[K{line}\r\x1b[Ka: done\n"
