"""Models from scratch and decomposed ones, side by side."""

import json
import math

import pytest

from experiments.reporting import write_report
from experiments.reporting.compare import compare, started_groups
from experiments.reporting.tables.comparisons import start_table
from experiments.reporting.trials import read_runs, read_sweeps
from tests.experiments.reporting import folders

SMALL = folders.kfc("2:16x20*50x25")


def decompose(folder, seed, before, after, **config):
    """Writes a run that started from another one, with its errors before and after."""
    folders.write_run(folder, SMALL, seed, {"test": after}, train__num_epochs=2)
    for name, part in (
        (
            "config.json",
            {"compression": {"source": f"runs/seed={seed}", "weighted": True}, **config},
        ),
        (
            "result.json",
            {
                "compression": {
                    "before_training": {"test": {"error": before}},
                    "layers": {"fc1": {"output_error": before + 0.1}},
                }
            },
        ),
    ):
        content = json.loads((folder / name).read_text()) | part
        (folder / name).write_text(json.dumps(content))


@pytest.fixture
def runs(tmp_path):
    for seed, error in ((0, 0.010), (1, 0.012)):
        folders.write_run(tmp_path / f"dense{seed}", folders.DENSE, seed, {"test": 0.008})
        folders.write_run(tmp_path / f"scratch{seed}", SMALL, seed, {"test": error})
        folders.write_run(tmp_path / f"rank{seed}", folders.low_rank(3), seed, {"test": 0.04})
        decompose(tmp_path / f"small{seed}", seed, 0.3 + error, error - 0.001)
        teacher = {"teacher": f"runs/seed={seed}", "weight": 0.5}
        decompose(tmp_path / f"taught{seed}", seed, 0.3, 0.009, distillation=teacher)
    return tmp_path


def test_a_structure_stands_there_with_every_start_and_others_do_not(runs):
    (comparison,) = compare(read_runs([runs]))
    started = list(started_groups(comparison, "test").itertuples())
    assert [one.start for one in started] == [
        "from scratch",
        "decomposed by data",
        "decomposed by data, distilled",
    ]
    assert {one.structure for one in started} == {"2:16x20*50x25"}
    assert math.isnan(started[0].before)
    assert started[1].before == pytest.approx(0.311)
    assert started[1].before_n == 2
    assert started[1].error == pytest.approx(0.010)


def test_the_cells_say_what_was_gained_over_dense(runs):
    (comparison,) = compare(read_runs([runs]))
    table = start_table(comparison, "test")
    texts = [[text for text, _ in row] for row in table.rows]
    assert texts[1][3:7] == ["3,140", "34,220", "2", "0.411"]
    assert [row[-1] for row in texts] == ["+0.30", "+0.20", "+0.10"]


def test_the_report_draws_and_lists_them(runs, tmp_path):
    write_report([runs], tmp_path / "report")
    assert (tmp_path / "report" / "starts.png").stat().st_size > 10_000
    summary = (tmp_path / "report" / "summary.md").read_text()
    assert (
        "| KFC | `2:16x20*50x25` | decomposed by data | 3,140 | 34,220 | 2 | 0.411 | 31.10%"
        in summary
    )
    assert "decomposed by data, distilled" in (tmp_path / "report" / "index.html").read_text()


def test_a_report_without_decomposed_runs_has_none(finished_report):
    assert not list(finished_report.glob("starts*"))
    assert "Starts" not in (finished_report / "summary.md").read_text()


def test_unweighted_runs_are_told_apart(tmp_path):
    decompose(tmp_path / "a", 0, 0.3, 0.01, compression={"source": "runs/a", "weighted": False})
    (trial,) = read_sweeps([tmp_path])
    assert trial.start == "decomposed"


def test_models_are_compared_with_the_dense_one_of_their_trunk(runs):
    wide = {"model__image_shape": [32, 32, 1]}
    folders.write_run(runs / "wide", folders.DENSE, 0, {"test": 0.002}, **wide)
    folders.write_run(runs / "wide-small", SMALL, 0, {"test": 0.005}, **wide)
    (comparison,) = compare(read_runs([runs]))
    table = start_table(comparison, "test")
    assert table.head[2] == "trunk"
    assert [column.kind for column in table.columns].count("number") == len(table.head) - 4
    above = {(row[2][0], row[3][0]): row[-1][1] for row in table.rows}
    assert above["image_shape=28,28,1", "from scratch"] == pytest.approx(0.011 - 0.008)
    assert above["image_shape=32,32,1", "from scratch"] == pytest.approx(0.005 - 0.002)
