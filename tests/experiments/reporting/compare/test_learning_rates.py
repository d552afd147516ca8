import csv
import json
import math
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from experiments.reporting import write_report
from experiments.reporting.compare import compare
from experiments.reporting.compare.learning_rates import rate_searches
from experiments.reporting.pictures import rate_figure
from experiments.reporting.pictures.style import save
from experiments.reporting.sentences import rate_findings
from experiments.reporting.tables import rate_grid
from experiments.reporting.trials import read_runs
from tests.experiments.reporting import folders

RATES = (0.002, 0.004, 0.008)
FIRST, SECOND = folders.kfc("2:16x20*50x25"), folders.kfc("1:16x20*50x25+1:20x25*40x20")
LOW_RANK = folders.low_rank(3)

# Errors at RATES; dense is best at 0.004.
GRID = {
    (json.dumps(folders.DENSE), None): (0.080, 0.065, 0.070),
    (json.dumps(FIRST), None): (0.150, 0.120, 0.090),
    (json.dumps(FIRST), 0.25): (0.100, 0.076, 0.078),
    (json.dumps(FIRST), 1.0): (0.072, 0.084, 0.900),
    (json.dumps(SECOND), None): (0.160, 0.130, 0.100),
    (json.dumps(SECOND), 0.25): (0.100, 0.078, 0.074),
    (json.dumps(SECOND), 1.0): (0.082, 0.080, 0.120),
    (json.dumps(LOW_RANK), None): (0.300, 0.250, 0.210),
    (json.dumps(LOW_RANK), 0.25): (0.260, 0.200, 0.190),
    (json.dumps(LOW_RANK), 1.0): (0.220, 0.240, 0.330),
}


def write_cell(sweep, fc, gain, rate, errors, seed=0, **fields):
    name = re.sub(r"[^\w.]+", "-", f"{fc}{gain}{rate}{seed}{fields}")
    return folders.write_run(
        sweep / name,
        fc,
        seed,
        errors,
        optimizer__learning_rate=rate,
        optimizer__scale_factors=gain is not None,
        optimizer__factor_gain=0.25 if gain is None else gain,
        **fields,
    )


def write_grid(sweep, grid=GRID, split="validation", **fields):
    for (fc, gain), errors in grid.items():
        for rate, error in zip(RATES, errors, strict=True):
            if error is not None:
                write_cell(sweep, json.loads(fc), gain, rate, {split: error}, **fields)
    return sweep


def diverge(run):
    """Turns a run into one that failed with a loss that is not finite."""
    (run / "result.json").unlink()
    error = (
        "It ended with exit code 1.\nerror: The loss is nan at step 8, where the learning rate is "
        "0.5. Checkpoint 5 is good, and nothing was saved after it. Lower "
        "config.optimizer.learning_rate or config.optimizer.factor_gain, or raise ..."
    )
    (run / "trial.json").write_text(json.dumps({"state": "failed", "error": error}))


def searches_of(*sweeps):
    runs = read_runs(sweeps)
    (comparison,) = compare(runs)
    return rate_searches(comparison, runs)


def curve_of(search, fc, gain):
    wanted = fc.get("structure") or (f"rank {fc['rank']}" if "rank" in fc else "dense")
    name = "" if wanted == "dense" else "no multipliers" if gain is None else f"gain {gain:g}"
    curves = search.curves[(search.curves.structure == wanted) & (search.curves.gain_name == name)]
    (curve,) = curves.itertuples()
    return curve


def errors_of(search, curve):
    """Returns the errors of a curve by its rates."""
    points = search.points[
        (search.points.structure == curve.structure) & (search.points.gain_name == curve.gain_name)
    ]
    return dict(zip(points.learning_rate, points.error, strict=True))


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """A whole search; not to be changed by a test."""
    return write_grid(tmp_path_factory.mktemp("rates") / "grid")


@pytest.fixture(scope="module")
def report(grid, tmp_path_factory):
    out = tmp_path_factory.mktemp("rates-report")
    return out, write_report([grid], out)


def test_the_grid_of_errors_has_a_cell_for_every_run(grid, tmp_path):
    table = rate_grid(*searches_of(grid))
    assert table.head == ("method", "structure", "gain", "0.002", "0.004", "0.008")
    numbers = [[number for _, number in row[3:]] for row in table.rows]
    assert numbers == [list(errors) for errors in GRID.values()]
    hole = write_grid(tmp_path / "hole", {(json.dumps(FIRST), 0.25): (0.100, None, 0.078)})
    (row,) = rate_grid(*searches_of(hole)).rows
    assert [number for _, number in row[3:]] == [0.100, 0.078]


def test_the_summary_has_the_grid_of_errors(report):
    out, _ = report
    assert "| dense | `dense` |  | 8.00% | 6.50% | 7.00% |" in (out / "summary.md").read_text()


def test_every_structure_and_gain_is_a_curve_dense_first(grid):
    (search,) = searches_of(grid)
    assert (search.settings, search.split) == ("", "validation")
    assert len(search.curves) == len(GRID)
    assert search.dense.Index == 0
    assert search.gains == ["no multipliers", "gain 0.25", "gain 1"]
    for (fc, gain), errors in GRID.items():
        curve = curve_of(search, json.loads(fc), gain)
        assert list(errors_of(search, curve).items()) == list(zip(RATES, errors, strict=True))
        assert curve.error == min(errors)
        assert curve.at_dense == errors[1]
        best = RATES[int(np.argmin(errors))]
        assert curve.learning_rate == best
        assert curve.over_dense == best / 0.004
        assert curve.is_at_edge == (best != 0.004)


def test_the_best_gain_for_all_structures_is_said(grid):
    (search,) = searches_of(grid)
    said = rate_findings(search)
    # Means over FIRST and SECOND, by hand.
    assert said[:4] == [
        "Dense has its lowest validation error, 6.50%, at a learning rate of 0.004.",
        "At dense's best rate, 0.004, gain 0.25 has the lowest mean validation error over 2 KFC "
        "structures: 7.70% (no multipliers 12.50%, gain 1 8.20%).",
        "Each at its own best rate, gain 0.25 has the lowest mean validation error over 2 KFC "
        "structures: 7.50% (no multipliers 9.50%, gain 1 7.60%).",
        "KFC structures with a best rate within a factor 2 of dense's: 2 of 2 with no multipliers, "
        "2 of 2 with gain 0.25, 2 of 2 with gain 1.",
    ]
    assert said[4] == (
        "At dense's best rate, 0.004, gain 0.25 has the lowest mean validation error over 1 "
        "low-rank structure: 20.00% (no multipliers 25.00%, gain 1 24.00%)."
    )
    at_edge = sum(min(e) != e[1] for (fc, _), e in GRID.items() if fc != json.dumps(folders.DENSE))
    assert said[-1].startswith(f"{at_edge} of 9 pairs of structure and gain have their best rate")


def test_rates_far_from_denses_do_not_count_as_near(tmp_path):
    grid = {
        (json.dumps(folders.DENSE), None): (0.05, 0.06, 0.07),
        (json.dumps(FIRST), 1.0): (0.12, 0.11, 0.10),
        (json.dumps(SECOND), 1.0): (0.12, 0.10, 0.11),
    }
    (search,) = searches_of(write_grid(tmp_path / "s", grid))
    assert rate_findings(search)[0].endswith("at a learning rate of 0.002, the edge of the search.")
    assert "within a factor 2 of dense's: 1 of 2 with gain 1." in "\n".join(rate_findings(search))


def test_structures_without_every_gain_are_left_out_of_the_means(tmp_path):
    grid = GRID | {(json.dumps(SECOND), 1.0): (0.082, None, None)}
    (search,) = searches_of(write_grid(tmp_path / "s", grid))
    assert (
        "At dense's best rate, 0.004, gain 0.25 has the lowest mean validation error over 1 KFC "
        "structure: 7.60% (no multipliers 12.00%, gain 1 8.40%)." in rate_findings(search)
    )
    assert math.isnan(curve_of(search, SECOND, 1.0).at_dense)
    grid |= {(json.dumps(FIRST), 1.0): (0.072, None, 0.9)}
    (search,) = searches_of(write_grid(tmp_path / "t", grid))
    assert (
        "At dense's best rate, 0.004, no KFC structure has an error with every gain yet."
        in rate_findings(search)
    )


def test_a_rate_that_diverged_was_tried(tmp_path):
    sweep = write_grid(tmp_path / "s", GRID | {(json.dumps(FIRST), 1.0): (None, None, 0.2)})
    write_cell(sweep, FIRST, 1.0, 0.002, {"validation": 0.1})
    for rate in (0.004, 0.016):
        diverge(write_cell(sweep, FIRST, 1.0, rate, {"validation": 0.1}))
    # Neither another structure's divergence nor another failure counts.
    diverge(write_cell(sweep, folders.kfc("4:16x20*50x25"), 1.0, 0.032, {"validation": 0.1}))
    failed = write_cell(sweep, FIRST, 1.0, 0.064, {"validation": 0.1})
    (failed / "result.json").unlink()
    (failed / "trial.json").write_text(json.dumps({"state": "failed", "error": "no memory"}))
    (search,) = searches_of(sweep)
    curve = curve_of(search, FIRST, 1.0)
    assert curve.diverged == (0.004, 0.016)
    assert list(errors_of(search, curve)) == [0.002, 0.008]
    assert curve.learning_rate == 0.002
    assert curve.is_at_edge
    assert curve_of(search, FIRST, 0.25).diverged == ()
    said = rate_findings(search)[1]
    # (1 + 0.080) / 2
    assert "gain 1 54.00%" in said
    assert said.endswith(" A run that diverged counts as 100%.")
    axes = rate_figure(search, "title").axes[0]
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    assert sorted(float(line.get_xdata()[0]) for line in crosses) == [0.004, 0.016]


def test_a_best_rate_below_one_that_diverged_is_not_at_the_edge(tmp_path):
    grid = {(json.dumps(FIRST), 1.0): (0.09, 0.08, None)}
    sweep = write_grid(tmp_path / "s", grid)
    (search,) = searches_of(sweep)
    assert search.curves.is_at_edge.all()
    diverge(write_cell(sweep, FIRST, 1.0, 0.008, {"validation": 0.1}))
    (search,) = searches_of(sweep)
    assert not search.curves.is_at_edge.any()


def test_seeds_are_means_and_bars(tmp_path):
    sweep = write_grid(tmp_path / "s")
    for seed, error in ((1, 0.080), (2, 0.084)):
        write_cell(sweep, FIRST, 0.25, 0.004, {"validation": error}, seed=seed)
    (search,) = searches_of(sweep)
    curve = curve_of(search, FIRST, 0.25)
    errors = [0.076, 0.080, 0.084]
    assert curve.at_dense == pytest.approx(np.mean(errors))
    assert (errors_of(search, curve)[0.004], curve.at_dense_n) == (curve.at_dense, 3)
    assert curve.at_dense_std == pytest.approx(np.std(errors, ddof=1))


def test_dense_layers_have_no_gain(tmp_path):
    sweep = tmp_path / "s"
    for rate, error in ((0.002, 0.08), (0.004, 0.07)):
        for gain in (None, 0.25, 1.0):
            write_cell(sweep, folders.DENSE, gain, rate, {"validation": error})
    (search,) = searches_of(sweep)
    (curve,) = search.curves.itertuples()
    assert (curve.structure, len(curve.tried)) == ("dense", 2)
    assert math.isnan(curve.gain)


def test_what_differs_otherwise_is_a_search_of_its_own(tmp_path):
    write_grid(tmp_path / "s")
    write_grid(tmp_path / "s", train__num_epochs=20)
    write_cell(tmp_path / "s", FIRST, 1.0, 0.004, {"validation": 0.05}, train__num_epochs=99)
    searches = searches_of(tmp_path / "s")
    assert [s.settings for s in searches] == ["train.num_epochs=10", "train.num_epochs=20"]
    assert all(len(search.curves) == len(GRID) for search in searches)
    write_report([tmp_path / "s"], tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").glob("learning_rates*")}
    assert {"learning_rates.png", "learning_rates-2.png", "learning_rates.csv"} <= names
    assert (
        "#### Learning rates with `train.num_epochs=20`"
        in (tmp_path / "out" / "summary.md").read_text()
    )


def test_the_test_split_is_shown_where_all_have_it_and_validation_chooses(tmp_path):
    sweep = tmp_path / "s"
    for rate, validation, test in ((0.002, 0.08, 0.05), (0.004, 0.07, 0.06)):
        write_cell(sweep, FIRST, 1.0, rate, {"validation": validation, "test": test})
    (search,) = searches_of(sweep)
    assert search.split == "test"
    (curve,) = search.curves.itertuples()
    assert (curve.learning_rate, curve.error) == (0.004, 0.06)
    write_cell(sweep, FIRST, 1.0, 0.008, {"validation": 0.05})
    (search,) = searches_of(sweep)
    assert search.split == "validation"
    assert list(search.curves.learning_rate) == [0.008]


def test_one_learning_rate_is_no_search(finished_sweep):
    assert searches_of(finished_sweep) == []


def test_every_structure_has_a_panel_with_dense_in_it(grid):
    (search,) = searches_of(grid)
    figure = rate_figure(search, "lenet5 on mnist")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        FIRST["structure"],
        SECOND["structure"],
        "low rank, rank 3",
    ]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[1:] == ["no multipliers", "gain 0.25", "gain 1", "best"]
    assert labels[0].startswith("dense")
    for axes in figure.axes:
        assert axes.get_xscale() == "log"
        ticks = [tick.get_text() for tick in axes.get_xticklabels()]
        assert ticks == ["0.002", "0.004", "0.008"]
        dense = [0.080, 0.065, 0.070]
        drawn = [np.asarray(line.get_ydata(), float).tolist() for line in axes.lines]
        assert dense in drawn


def test_an_error_far_off_does_not_flatten_the_others(grid):
    (search,) = searches_of(grid)
    axes = rate_figure(search, "title").axes[0]  # of FIRST, which reaches 90%
    assert axes.get_ylim()[1] < 0.25
    top = axes.get_ylim()[1]
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    at = [(x, y) for line in hollow for x, y in zip(*line.get_data(), strict=True)]
    assert (0.008, top) in at


def test_the_best_of_every_curve_has_a_ring(grid):
    (search,) = searches_of(grid)
    axes = rate_figure(search, "title").axes[0]
    rings = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    at = {(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in rings}
    assert at == {(0.004, 0.065), (0.008, 0.090), (0.004, 0.076), (0.002, 0.072)}


@pytest.mark.parametrize(
    "cells",
    [
        [(folders.DENSE, None)],
        [(FIRST, None)],
        [(folders.DENSE, None), (FIRST, 1.0), *((LOW_RANK, g) for g in (None, 1, 2, 3, 4, 5, 6))],
        [(folders.kfc(f"{rank}:16x20*50x25"), 1.0) for rank in range(1, 8)],
    ],
)
@pytest.mark.parametrize("errors", [(0.1, 0.2, None), (0.0, 0.0, 0.0)])
def test_few_and_many_curves_can_be_drawn_and_said(tmp_path, cells, errors):
    grid = {(json.dumps(fc), gain): errors for fc, gain in cells}
    (search,) = searches_of(write_grid(tmp_path / "s", grid))
    save(rate_figure(search, "title"), tmp_path / "picture")
    assert rate_findings(search)


def test_the_table_holds_every_curve(report):
    out, _ = report
    with (out / "learning_rates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(GRID) == pq.read_table(out / "learning_rates.parquet").num_rows
    (row,) = [r for r in rows if r["structure"] == FIRST["structure"] and r["gain"] == "1"]
    assert row["learning_rates"] == "0.002 0.004 0.008"
    numbers = ("best_rate", "error_mean", "dense_best_rate", "error_at_dense_best_rate")
    assert [float(row[name]) for name in numbers] == [0.002, 0.072, 0.004, 0.084]
    assert float(row["best_rate_over_dense"]) == 0.5
    assert row["is_at_edge"] == "true"
    (row,) = [r for r in rows if r["structure"] == SECOND["structure"] and r["gain"] == ""]
    assert float(row["best_rate_over_dense"]) == 2


def test_summary_page_and_command_have_the_section(report):
    out, said = report
    finding = "At dense's best rate, 0.004, gain 0.25 has the lowest mean validation error over 2"
    assert sum(sentence.startswith(f"lenet5 on mnist: {finding}") for sentence in said) == 1
    summary = (out / "summary.md").read_text()
    section = summary[summary.index("#### Learning rates") :].splitlines()
    assert "![lenet5 on mnist: validation error against learning rate](learning_rates.png)" in (
        section
    )
    end = section.index("", section.index("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |"))
    rows = [line for line in section[:end] if line.startswith("|")]
    assert len(rows) == 2 + len(GRID)
    assert len({row.count("|") for row in rows}) == 1
    assert "| KFC | `2:16x20*50x25` | gain 1 | 0.002 | 7.20% | 8.40% | 0.5 | edge |" in rows
    assert f"- {finding}" in summary
    page = (out / "index.html").read_text()
    table = page[page.index('<table class="rates">') :]
    table = table[: table.index("</table>")]
    assert table.count("<tr>") == 1 + len(GRID)
    assert "<h3>Learning rates</h3>" in page


def test_a_report_without_a_search_removes_the_earlier_one(grid, finished_sweep, tmp_path):
    write_report([grid], tmp_path)
    assert (tmp_path / "learning_rates.csv").exists()
    write_report([finished_sweep], tmp_path)
    assert not list(tmp_path.glob("learning_rates*"))
    assert "Learning rates" not in (tmp_path / "summary.md").read_text()


def test_a_distilled_run_is_no_seed_of_one_without_a_teacher(tmp_path):
    def write(name, seed, distillation):
        run = folders.write_run(tmp_path / "s" / name, FIRST, seed, {"validation": 0.1})
        config = json.loads((run / "config.json").read_text())
        if distillation is not None:
            config["distillation"] = distillation
        (run / "config.json").write_text(json.dumps(config))

    write("a", 0, None)
    write("b", 1, {"teacher": "", "weight": 0.5, "temperature": 2.0})
    write("c", 2, {"teacher": "", "weight": 0.9, "temperature": 1.0})
    (comparison,) = compare(read_runs([tmp_path / "s"]))
    assert list(comparison.groups.records.map(len)) == [3]
    write("d", 3, {"teacher": "runs/dense", "weight": 0.9, "temperature": 1.0})
    (comparison,) = compare(read_runs([tmp_path / "s"]))
    assert sorted(len(group.records) for group in comparison.groups.itertuples()) == [1, 3]
