"""Explanations: what they say agrees with the plan and the model."""

import pytest

from kfc_jax import KroneckerStructure, explain
from kfc_jax.product.cost_model import costs_of
from kfc_jax.product.planner import make_plan, total
from tests.kfc_jax.reference import message_of


def test_it_is_the_plan_of_the_call():
    found = explain("16:28x32*28x32", 100, "cpu")
    plan = make_plan(KroneckerStructure.parse("16:28x32*28x32"), 100, costs_of("cpu"))
    assert found.programs == plan
    assert found.flops == total(plan).flops
    assert found.seconds == costs_of("cpu").seconds(total(plan))
    assert found.peak_intermediate == total(plan).peak
    assert found.bytes > 100 * (784 + 1024) * 4


def test_it_prints_strategy_costs_and_break_even():
    text = str(explain("4:64x64*64x64", 1024, "cpu"))
    for word in ("4:64x64*64x64", "4096x4096", "batch 1024", "cpu", "first", "GFLOP", "break-even"):
        assert word in text
    assert "form the kernel" in str(explain("64:8x8*8x8", 10_000, "cpu"))
    assert "factors 1-" in str(explain("2:8x10*10x5*10x10", 128, "cpu"))


def test_the_break_even_rank_is_the_last_that_is_faster():
    found = explain("4:64x64*64x64", 64, "cpu")
    rank = found.break_even_rank
    assert explain(f"{rank}:64x64*64x64", 64, "cpu").speedup > 1
    assert explain(f"{rank + 1}:64x64*64x64", 64, "cpu").speedup <= 1
    assert explain("1:64x64*64x64+1:32x64*128x64", 64, "cpu").break_even_rank is None


def test_from_the_break_even_batch_on_dense_is_as_fast():
    batch = explain("16:28x32*28x32", 1, "cpu").break_even_batch
    assert batch > 1
    for larger in (batch, 2 * batch, 2**16):
        assert explain("16:28x32*28x32", larger, "cpu").speedup <= 1
    assert explain("16:28x32*28x32", batch // 2, "cpu").speedup > 1
    assert explain("1:64x64*64x64", 1, "cpu").break_even_batch is None


def test_backward_has_its_own_plan_and_about_the_double_of_the_work():
    forward = explain("4:64x64*64x64", 256, "cpu")
    backward = explain("4:64x64*64x64", 256, "cpu", backward=True)
    assert 2 <= backward.flops / forward.flops <= 3
    assert backward.dense_seconds > 1.5 * forward.dense_seconds


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("4:64x64*64x64", 0), "0"),
        (("4:64x64", 1), "4"),
        (("1:2x2*2x2", 1, "abacus"), "abacus"),
    ],
)
def test_bad_arguments_are_named(arguments, word):
    assert word in message_of(explain, *arguments)
