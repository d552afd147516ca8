import csv
import json

import pyarrow.parquet as pq
import pytest

from experiments import report
from experiments.reporting import write_report
from tests.experiments.reporting import folders

FILES = {
    "runs.jsonl",
    "index.html",
    "summary.md",
    *(f"{name}.{kind}" for name in ("trials", "groups") for kind in ("csv", "parquet")),
    *(
        f"{name}.{kind}"
        for name in ("tradeoff", "budgets", "curves", "series")
        for kind in ("png", "svg")
    ),
}


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def broken_sweep(tmp_path):
    """Six planned trials: two done, and one each failed, running, pending and unreadable."""
    cases = [(folders.DENSE, 0.01), (folders.low_rank(2), 0.02), (folders.low_rank(1), 0.03)]
    sweep = folders.write_sweep(tmp_path / "ranks", cases, seeds=(0, 1))
    names = [t["name"] for t in json.loads((sweep / "sweep.json").read_text())["trials"]]
    changes = {1: "failed", 2: "running", 3: "pending"}
    for i, state in changes.items():
        (sweep / names[i] / "result.json").unlink()
        record = json.loads((sweep / names[i] / "trial.json").read_text())
        error = "Traceback\n  ...\nFloatingPointError: the loss is nan\n" if i == 1 else None
        record |= {"state": state, "attempts": 3, "error": error}
        (sweep / names[i] / "trial.json").write_text(json.dumps(record))
    for file in (sweep / names[3]).iterdir():
        file.unlink()
    (sweep / names[3]).rmdir()
    (sweep / names[5] / "result.json").write_text("{")
    return sweep, names


def test_a_report_is_these_files(finished_report):
    assert {path.name for path in finished_report.iterdir()} == FILES


def test_csv_and_parquet_hold_the_same_and_the_truth(finished_report):
    for name, length in (("trials", 3 * len(folders.CASES)), ("groups", len(folders.CASES))):
        rows = rows_of(finished_report / f"{name}.csv")
        table = pq.read_table(finished_report / f"{name}.parquet")
        assert len(rows) == table.num_rows == length
        assert list(rows[0]) == table.column_names
    for row in rows_of(finished_report / "trials.csv"):
        result = json.loads((finished_report / row["folder"] / "result.json").read_text())
        assert float(row["test_error"]) == result["test"]["error"]
        assert int(row["total_parameters"]) == result["whole_model"]["parameters"]
        assert int(row["layer_parameters"]) == result["layers"][2]["parameters"]
        assert int(row["seed"]) == result["seed"]
    for row in rows_of(finished_report / "groups.csv"):
        trials = [
            t
            for t in rows_of(finished_report / "trials.csv")
            if t["trial"] in row["trials"].split()
        ]
        errors = [float(trial["test_error"]) for trial in trials]
        assert float(row["test_error_mean"]) == pytest.approx(sum(errors) / 3)
        assert row["test_error_n"] == "3"


def test_bytes_and_errors_with_8_bits_are_told_where_runs_have_them(tmp_path):
    sweep = folders.write_sweep(tmp_path / "bytes", [(folders.DENSE, 0.01)], seeds=(0, 1))
    write_report([sweep], tmp_path / "before")
    assert "int8" not in (tmp_path / "before/summary.md").read_text()
    for number, path in enumerate(sorted(sweep.glob("*/result.json"))):
        result = json.loads(path.read_text())
        result["bytes"] = {"float32": 1_724_320, "int8": 433_420}
        result["int8"] = {"test": {"error": 0.02 + number / 100}, "validation": None}
        path.write_text(json.dumps(result))
    write_report([sweep], tmp_path / "report")
    write_report([tmp_path / "report"], tmp_path / "again")  # from the runs that it kept
    for report_folder in (tmp_path / "report", tmp_path / "again"):
        (line,) = [
            line
            for line in (report_folder / "summary.md").read_text().splitlines()
            if line.startswith("| dense") and "1,724.3" in line
        ]
        assert line.endswith("| 1,724.3 | 433.4 | 2.50% ± 0.71 (n = 2) |")
        assert "1,724.3" in (report_folder / "index.html").read_text()
    rows = rows_of(tmp_path / "report/trials.csv")
    assert [float(row["test_int8_error"]) for row in rows] == [0.02, 0.03]
    assert {row["int8_bytes"] for row in rows} == {"433420"}


def test_an_unfinished_sweep_is_reported_and_says_what_is_missing(broken_sweep, tmp_path):
    sweep, names = broken_sweep
    said = write_report([sweep], tmp_path / "report")
    missing = "\n".join(said)
    assert (
        "`ranks`: 2 of 6 trials done; 1 not started, 1 running, or cut off, 1 failed, "
        "1 finished with a damaged result." in missing
    )
    assert f"`{names[1]}` failed: FloatingPointError: the loss is nan" in missing
    assert f"`{names[5]}` finished with a damaged result: result.json cannot be read" in missing
    states = [row["state"] for row in rows_of(tmp_path / "report" / "trials.csv")]
    assert states == ["done", "failed", "running", "pending", "done", "unreadable"]
    page = (tmp_path / "report" / "index.html").read_text()
    summary = (tmp_path / "report" / "summary.md").read_text()
    assert "What is missing" in page
    assert "FloatingPointError: the loss is nan" in page
    assert "What is missing" in summary


def test_a_sweep_with_nothing_done_is_reported(tmp_path):
    (tmp_path / "s").mkdir()
    plan = {"trials": [{"name": f"seed={i}", "overrides": {"seed": i}} for i in range(3)]}
    (tmp_path / "s" / "sweep.json").write_text(json.dumps(plan))
    said = write_report([tmp_path / "s"], tmp_path / "report")
    assert said == ["`s`: 0 of 3 trials done; 3 not started."]
    assert "0 of 3 trials done" in (tmp_path / "report" / "index.html").read_text()
    assert len(rows_of(tmp_path / "report" / "trials.csv")) == 3


def test_uneven_seeds_and_repeats_are_said(tmp_path):
    folders.write_sweep(tmp_path / "a", [(folders.DENSE, 0.01)], seeds=(0, 1, 2))
    folders.write_sweep(tmp_path / "b", [(folders.low_rank(1), 0.02)], seeds=(0,))
    folders.write_sweep(tmp_path / "c", [(folders.DENSE, 0.01)], seeds=(0,))
    said = write_report([tmp_path / name for name in "abc"], tmp_path / "report")
    assert "The groups of lenet5 on mnist differ in seeds: 1 with 3 seeds, 1 with 1 seed." in said
    assert (
        "Repeats of a config and a seed that are there already do not count: `fc1.kind=dense,"
        "seed=0`." in said
    )


def test_structures_with_other_settings_are_said_to_have_them(tmp_path):
    rate = {"optimizer__learning_rate": 0.01}
    folders.write_run(tmp_path / "s" / "a", folders.DENSE, 0, {"test": 0.01})
    folders.write_run(tmp_path / "s" / "b", folders.low_rank(1), 0, {"test": 0.2}, **rate)
    said = "\n".join(write_report([tmp_path / "s"], tmp_path / "report"))
    assert "The groups of lenet5 on mnist differ in settings" in said
    assert "of dense (learning rate 0.002; 1.00% test error)" in said
    assert "the best is `rank 1` (learning rate 0.01): 20.00%." in said


def test_the_settings_behind_short_names_stand_in_full_below(tmp_path):
    source = "runs/" + "dense-models-of-many-words/" * 20 + "seed=0"
    for name, fc, rate in (("a", folders.DENSE, 0.002), ("b", folders.low_rank(1), 0.01)):
        run = folders.write_run(
            tmp_path / "s" / name, fc, 0, {"test": 0.01}, optimizer__learning_rate=rate
        )
    config = json.loads((run / "config.json").read_text())
    config["compression"] = {"source": source, "weighted": True}
    (run / "config.json").write_text(json.dumps(config))
    said = write_report([tmp_path / "s"], tmp_path / "report")
    assert max(map(len, said)) < 300
    assert "is `rank 1` (fine-tuned)" in "\n".join(said)
    summary = (tmp_path / "report" / "summary.md").read_text()
    above, _, below = summary.partition("#### Settings")
    assert "dense-models-of-many-words" not in above
    row = next(line for line in below.splitlines() if line.startswith("| fine-tuned"))
    assert source.replace("seed=0", "seed=*") in row
    page = (tmp_path / "report" / "index.html").read_text()
    above, _, below = page.partition("<h3>Settings</h3>")
    assert "dense-models-of-many-words" not in above
    assert "dense-models-of-many-words" in below


@pytest.mark.parametrize("names", [["many"], ["many", "more"]])
def test_the_page_is_called_by_its_folders_whatever_the_sweeps_were_called(tmp_path, names):
    for name in names:
        for old in ("first", "second"):
            folders.write_run(tmp_path / old / name, folders.DENSE, 0, {"test": 0.01})
        write_report([tmp_path / "first", tmp_path / "second"], tmp_path / name)
    write_report([tmp_path / name for name in names], tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    title = f"Report: {', '.join(names)}"
    assert f"<title>{title}</title>" in page
    assert f"<h1>{title}</h1>" in page


def test_several_data_sets_have_pictures_of_their_own_and_old_pictures_go(tmp_path):
    cases = [(folders.DENSE, 0.01), (folders.low_rank(1), 0.02)]
    first = folders.write_sweep(tmp_path / "a", cases, seeds=(0,))
    second = folders.write_sweep(tmp_path / "b", cases, seeds=(0,), data="svhn")
    out = tmp_path / "report"
    write_report([first], out)
    assert (out / "tradeoff.png").exists()
    write_report([first, second], out)
    assert sorted(path.name for path in out.glob("tradeoff*")) == [
        f"tradeoff-lenet5-on-{data}.{kind}" for data in ("mnist", "svhn") for kind in ("png", "svg")
    ]
    summary = (out / "summary.md").read_text()
    assert "![lenet5 on svhn: test error against size](tradeoff-lenet5-on-svhn.png)" in summary


def test_the_summary_is_a_table_that_markdown_reads(finished_report):
    structures, *others = (finished_report / "summary.md").read_text().split("#### ")
    assert others  # KFC beside low rank, which are tables of their own
    rows = [line for line in structures.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(folders.CASES)
    assert len({row.count("|") for row in rows}) == 1
    row = next(r for r in rows if "`2:16x20*50x25`" in r)
    # The layer's FLOPs: 50x25 first, 2 * 2 * 16 * 50 * 25, then 16x20, 2 * 2 * 16 * 20 * 25.
    assert "| 3,140 | 99.22% | 34,220 | 92.06% | 112,000 |" in row
    assert "![lenet5 on mnist: test error against size](tradeoff.png)" in structures.splitlines()


def test_the_command_prints_the_headline_and_where_the_report_is(finished_sweep, tmp_path, capsys):
    out = tmp_path / "out"
    assert report.main([str(finished_sweep), f"--out={out}", "--within=1"]) == 0
    printed = capsys.readouterr().out
    assert "The smallest KFC model within 1 point of dense" in printed
    assert str(out / "index.html") in printed


def test_help_shows_every_use_on_a_line_of_its_own(capsys):
    with pytest.raises(SystemExit) as ended:
        report.main(["--help"])
    assert ended.value.code == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    for use in ("runs/", "--fill=", "--index="):
        assert any(line.startswith(f"python -m experiments.report {use}") for line in lines)


def test_one_workdir_has_its_report_inside_and_it_is_no_trial(tmp_path, capsys):
    sweep = folders.write_sweep(tmp_path / "s", [(folders.DENSE, 0.01)], seeds=(0,))
    for _ in range(2):
        assert report.main([str(sweep)]) == 0
    assert len(rows_of(sweep / "report" / "trials.csv")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is no folder"),
        (["."], "holds no trial"),
        ([".", "--within=-1"], "The tolerance is -1 points; take one from 0 to 100."),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert report.main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("No report: ")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir()), "nothing is written"
