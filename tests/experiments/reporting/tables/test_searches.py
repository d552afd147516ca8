"""Searches over settings have a table of all errors."""

from experiments.reporting import write_report
from experiments.reporting.compare import compare
from experiments.reporting.tables.searches import settings_grid
from experiments.reporting.trials import read_runs
from tests.experiments.reporting import folders

ERRORS = {  # by weight decay and dropout
    "dense": {(1e-4, 0.0): 0.06, (0.1, 0.0): 0.05, (1e-4, 0.5): 0.08},
    "kfc": {(1e-4, 0.0): 0.07, (0.1, 0.0): 0.04, (1e-4, 0.5): 0.09},
}
FC = {"dense": folders.DENSE, "kfc": folders.kfc("2:16x20*50x25")}


def write_search(sweep, field="model__dropout", errors=ERRORS):
    for kind, by_setting in errors.items():
        for (decay, value), error in by_setting.items():
            name = f"{kind}-{decay}-{value}"
            fields = {"optimizer__weight_decay": decay, field: value}
            folders.write_run(sweep / name, FC[kind], 0, {"validation": error}, **fields)
    return sweep


def grid_of(sweep):
    (comparison,) = compare(read_runs([sweep]))
    return settings_grid(comparison, "validation")


def test_every_structure_is_a_row_and_every_setting_a_column(tmp_path):
    table = grid_of(write_search(tmp_path))
    assert table.head[2:] == (
        "dropout=0.0 weight_decay=0.0001",
        "dropout=0.0 weight_decay=0.1",
        "dropout=0.5 weight_decay=0.0001",
    )
    numbers = {row[1][0]: [number for _, number in row[2:]] for row in table.rows}
    assert numbers == {
        "dense": list(ERRORS["dense"].values()),
        "2:16x20*50x25": list(ERRORS["kfc"].values()),
    }


def test_a_run_that_is_missing_is_an_empty_cell(tmp_path):
    some = {"dense": ERRORS["dense"], "kfc": {(0.1, 0.0): 0.04}}
    (_, row) = grid_of(write_search(tmp_path, errors=some)).rows
    assert row[2:] == [("", None), ("4.00%", 0.04), ("", None)]


def test_neither_two_settings_nor_fields_that_are_not_of_the_training_are_a_search(tmp_path):
    two = {"dense": {(1e-4, 0.0): 0.06, (0.1, 0.0): 0.05}}
    assert grid_of(write_search(tmp_path / "two", errors=two)) is None
    assert grid_of(write_search(tmp_path / "data", field="data__num_validation")) is None


def test_learning_rates_are_left_to_their_own_table(tmp_path):
    assert grid_of(write_search(tmp_path, field="optimizer__learning_rate")) is None


def test_the_summary_and_the_page_have_it(tmp_path):
    write_report([write_search(tmp_path / "sweep")], tmp_path / "report")
    for name in ("summary.md", "index.html"):
        assert "Errors by setting" in (tmp_path / "report" / name).read_text()
