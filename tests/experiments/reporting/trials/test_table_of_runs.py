"""The table of runs: a row a trial, a column a thing that is known of it."""

import math

from experiments.reporting.trials import MEASURES, SIZES, read_runs
from tests.experiments.reporting import folders


def test_a_finished_run_has_its_numbers_and_another_has_none(tmp_path):
    folders.write_run(tmp_path / "a", folders.low_rank(3), 0, {"test": 0.02})
    folders.write_run(tmp_path / "b", folders.DENSE, 1, {"test": 0.01}, is_finished=False)
    done, unfinished = read_runs([tmp_path]).itertuples()
    assert (done.state, done.seed, done.epochs, done.learning_rate) == ("done", 0, 10, 2e-3)
    assert (done.test_error, done.test_loss, done.seconds) == (0.02, 0.08, 28.0)
    assert (done.parameters, done.dense_parameters) == (31_080 + 3_900, 431_080)
    assert math.isnan(done.validation_error)
    assert (unfinished.state, unfinished.seed) == ("unfinished", 1)
    assert all(math.isnan(getattr(unfinished, name)) for name in (*MEASURES, *SIZES))


def test_a_gain_is_missing_where_factors_are_not_scaled(tmp_path):
    for name, is_scaled in (("a", True), ("b", False)):
        fields = {"optimizer__factor_gain": 0.5, "optimizer__scale_factors": is_scaled}
        folders.write_run(tmp_path / name, folders.DENSE, 0, {"test": 0.01}, **fields)
    scaled, unscaled = read_runs([tmp_path]).gain
    assert scaled == 0.5
    assert math.isnan(unscaled)
