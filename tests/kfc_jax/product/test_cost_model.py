"""The constants of the cost model: shipped, read from a file, refused."""

import pytest

from kfc_jax.product.cost_model import COSTS_VARIABLE, PLATFORMS, Costs, Work, costs_of, save_costs
from tests.kfc_jax.reference import message_of

MINE = Costs(1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 1e6, loops=True)


def test_seconds_are_the_sum_over_the_kinds_of_work():
    assert MINE.seconds(Work(1, 2, 3, 4, 5, 6, 7, peak=9)) == 1 + 4 + 12 + 32 + 80 + 192 + 448


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_platform_has_constants(platform):
    costs = costs_of(platform)
    assert costs.seconds(Work(calls=1, flops=1e9)) > costs.seconds(Work(calls=1)) > 0
    assert costs.loops == (platform == "cpu")


def test_a_file_of_measured_constants_takes_over(tmp_path, monkeypatch):
    path = tmp_path / "costs.json"
    save_costs({"cpu": MINE}, path)
    gpu = costs_of("gpu")
    monkeypatch.setenv(COSTS_VARIABLE, str(path))
    assert costs_of("cpu") == MINE
    assert costs_of("gpu") == gpu


@pytest.mark.parametrize("text", ["{", "[]", '{"cpu": 3}', '{"cpu": {"flops": 1}}'])
def test_a_file_that_holds_no_constants_is_an_error_with_a_remedy(text, tmp_path, monkeypatch):
    path = tmp_path / "costs.json"
    path.write_text(text)
    monkeypatch.setenv(COSTS_VARIABLE, str(path))
    message = message_of(costs_of, "cpu")
    assert str(path) in message
    assert "--calibrate" in message


def test_an_unknown_platform_is_refused():
    assert "'abacus'" in message_of(costs_of, "abacus")
