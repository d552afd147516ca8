"""Explanations: what they say agrees with the plan and the model."""

import pytest

from kfc_jax import KroneckerStructure, explain
from kfc_jax.compress.plan import LayerPlan
from kfc_jax.product.cost_model import costs_of
from kfc_jax.product.native import host_of
from kfc_jax.product.planner import make_plan, total
from tests.kfc_jax.reference import message_of


def test_it_is_the_plan_of_the_call():
    found = explain("16:28x32*28x32", 100, "cpu")
    structure = KroneckerStructure.parse("16:28x32*28x32")
    plan = make_plan(structure, 100, costs_of("cpu"), host=host_of("cpu"))
    assert found.programs == plan
    assert found.planned_flops == total(plan).flops + total(plan).native_flops
    assert found.seconds == costs_of("cpu").seconds(total(plan))
    assert found.peak_intermediate == total(plan).peak
    assert found.bytes > 100 * (784 + 1024) * 4


def test_it_prints_strategy_costs_and_when_dense_is_as_fast():
    text = str(explain("4:64x64*64x64", 1024, "cpu"))
    for word in ("4:64x64*64x64", "4096x4096", "batch 1024", "cpu", "first", "GFLOP planned"):
        assert word in text
    found = explain("32:28x32*28x32", 64, "cpu")
    assert f"dense is as fast from batch {found.dense_as_fast_from_batch} on" in str(found)
    assert "dense is slower up to batch 65,536" in str(explain("1:64x64*64x64", 1, "cpu"))
    assert "form the kernel" in str(explain("64:8x8*8x8", 10_000, "cpu"))
    assert "factors 1-" in str(explain("2:8x10*10x5*10x10", 128, "cpu"))


def test_it_is_faster_up_to_the_rank_that_it_tells():
    found = explain("4:64x64*64x64", 64, "cpu")
    rank = found.faster_up_to_rank
    assert explain(f"{rank}:64x64*64x64", 64, "cpu").speedup > 1
    assert explain(f"{rank + 1}:64x64*64x64", 64, "cpu").speedup <= 1
    assert explain("1:64x64*64x64+1:32x64*128x64", 64, "cpu").faster_up_to_rank is None


def test_from_the_batch_that_it_tells_dense_is_as_fast():
    batch = explain("32:28x32*28x32", 1, "cpu").dense_as_fast_from_batch
    assert batch > 1
    for larger in (batch, 2 * batch, 2**16):
        assert explain("32:28x32*28x32", larger, "cpu").speedup <= 1
    assert explain("32:28x32*28x32", batch // 2, "cpu").speedup > 1
    assert explain("1:64x64*64x64", 1, "cpu").dense_as_fast_from_batch is None


def test_backward_has_its_own_plan_and_about_the_double_of_the_work():
    forward = explain("4:64x64*64x64", 256, "cpu")
    backward = explain("4:64x64*64x64", 256, "cpu", backward=True)
    assert 2 <= backward.planned_flops / forward.planned_flops <= 3
    assert backward.flops == forward.flops
    assert backward.dense_seconds > 1.5 * forward.dense_seconds


def public_numbers(thing):
    """The numbers that a thing tells, by their public names; methods of a batch at batch 256."""
    found = {}
    for name in dir(thing):
        if not name.startswith("_"):
            value = getattr(thing, name)
            if name in ("flops", "forms_kernel") and callable(value):
                value = value(256)
            if value is None or isinstance(value, int | float):
                found[name] = value
    return found


def test_least_arithmetic_and_plan_never_share_a_name():
    text = "2:8x10*10x5*10x10"
    structure, found = KroneckerStructure.parse(text), explain(text, 256, "cpu")
    assert structure.flops(256) == found.flops == 12_288_000
    assert found.planned_flops == 45_056_000
    layer = LayerPlan("fc", 800, 500, text)
    # At no batch the least arithmetic forms the kernel; a TPU is predicted to be as fast with a
    # dense one at every batch, a CPU at none.
    assert layer.form_kernel_from_batch is None
    assert found.dense_as_fast_from_batch is None
    assert explain(text, 256, "tpu").dense_as_fast_from_batch == 1
    of_structure, of_plan = public_numbers(structure), public_numbers(found)
    shared = of_structure.keys() & of_plan.keys()
    assert "flops" in shared
    assert {n: of_structure[n] for n in shared} == {n: of_plan[n] for n in shared}
    # A plan of a layer counts for one example.
    of_layer, of_plan = public_numbers(layer), public_numbers(explain(text, 1, "cpu"))
    shared = of_layer.keys() & of_plan.keys()
    assert "flops" in shared
    assert {n: of_layer[n] for n in shared} == {n: of_plan[n] for n in shared}


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
