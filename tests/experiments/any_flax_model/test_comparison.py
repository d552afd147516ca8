import math

import numpy as np
import pytest
import scipy.stats

from experiments.any_flax_model import summary
from experiments.any_flax_model.comparison import Difference, rows
from tests.experiments.any_flax_model.small import result

SEEDS = (0, 1, 2)
DENSE = (0.030, 0.034, 0.026)
FURTHER = (0.029, 0.033, 0.026)
AUTO = (0.033, 0.040, 0.031)
LOW_RANK = (0.036, 0.045, 0.032)


def made_up(model="vit_nnx"):
    for seed, dense, further, auto, low_rank in zip(
        SEEDS, DENSE, FURTHER, AUTO, LOW_RANK, strict=True
    ):
        yield result(model, seed, "dense", value=dense)
        yield result(model, seed, "dense_further", value=further)
        yield result(model, seed, "auto", 0.5, value=auto, before=0.1)
        yield result(model, seed, "low_rank", 0.5, value=low_rank)


def row_of(found, method):
    return next(row for row in found if row.method == method)


def test_differences_are_paired_by_seed_with_an_interval_of_students():
    row = row_of(rows(list(made_up())), "auto")
    paired = 100 * (np.array(AUTO) - DENSE)
    low, high = scipy.stats.t.interval(0.95, 2, paired.mean(), scipy.stats.sem(paired))
    assert row.to_dense.mean == pytest.approx(paired.mean())
    assert row.to_dense.half == pytest.approx((high - low) / 2)
    assert row.to_further.mean == pytest.approx(100 * np.mean(np.array(AUTO) - FURTHER))
    assert row.to_low_rank.mean == pytest.approx(100 * np.mean(np.array(AUTO) - LOW_RANK))
    assert (row.dense, row.before) == pytest.approx((0.03, 0.1))


def test_losses_differ_in_percent_of_the_dense_one():
    row = row_of(rows(list(made_up("decoder_linen"))), "auto")
    expected = 100 * np.mean((np.array(AUTO) - DENSE) / DENSE)
    assert row.to_dense.mean == pytest.approx(expected)


def test_one_seed_has_no_interval_and_is_not_above_for_sure():
    one = Difference.of([1.0])
    assert (one.mean, one.seeds) == (1.0, 1)
    assert math.isnan(one.half)
    assert not one.is_above
    assert Difference.of([1.0, 1.1]).is_above == (1.05 > 12.706 * 0.05)
    assert Difference.of([1.0, 1.01]).is_above
    assert not Difference.of([-1.0, 1.0]).is_above
    assert Difference.of([]).seeds == 0


def test_a_seed_without_its_dense_model_is_left_out():
    some = [r for r in made_up() if (r.seed, r.method) != (1, "dense")]
    assert row_of(rows(some), "auto").to_dense.seeds == 2


def test_the_summary_says_first_what_falls_short():
    other = [
        result("mixer_linen", 0, m, b, value=v)
        for m, b, v in (("dense", None, 0.02), ("auto", 0.5, 0.05), ("low_rank", 0.5, 0.05))
    ]
    text = summary([*made_up(), *other])
    short = text.split("## What falls short")[1].split("##")[0].strip().splitlines()
    assert short[0].startswith("- **missed**: `mixer_linen`, `auto` at a half")
    assert "+3.00 above dense; it may be 1 point" in short[0]
    assert short[1].startswith("- reached: `vit_nnx`")
    assert short[2] == "- nothing is worse than low rank beyond the spread"
    (line,) = [row for row in text.splitlines() if row.startswith("| `vit_nnx` | 0.5 | auto | 50")]
    assert "| 3.00% | 10.00% | 3.47% |" in line


def test_what_is_worse_than_low_rank_for_sure_is_said():
    found = [
        result("vit_linen", seed, method, budget, value=value)
        for seed in SEEDS
        for method, budget, value in (
            ("dense", None, 0.02),
            ("kfc", 0.25, 0.05 + seed / 1000),
            ("low_rank", 0.25, 0.03),
        )
    ]
    assert "beyond the spread**: `vit_linen`, `kfc` at 0.25, by +2.10" in summary(found)


def test_chosen_kinds_are_counted_over_blocks():
    text = summary(list(made_up()))
    (line,) = [row for row in text.splitlines() if "`block_*/a`" in row]
    assert line.startswith("| `vit_nnx` | 0.5 | `block_*/a` | 8x16 | 0 | 3 | 0 | 19% | 0.500 |")
