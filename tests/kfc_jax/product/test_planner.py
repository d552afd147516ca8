"""Plans: deterministic, within memory bounds, cheapest by the model, and what they count."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfc_jax import KroneckerStructure
from kfc_jax.product.cost_model import Costs, costs_of
from kfc_jax.product.native import Host
from kfc_jax.product.planner import candidate_programs, make_plan, total
from kfc_jax.product.program import STRATEGIES
from kfc_jax.product.strategies import multiply
from tests.kfc_jax.reference import message_of, random_factors, structures

CPU, GPU = costs_of("cpu"), costs_of("gpu")
HOST = Host(vector_bytes=32, registers=16, cpu="haswell", features="+avx2,+fma")
ONLY_FLOPS = Costs(0, 1e-9, 0, 0, 0, 0, 0, 0, math.inf, loops=True)


@given(
    structures(),
    st.integers(0, 5000),
    st.booleans(),
    st.sampled_from(["auto", *STRATEGIES]),
    st.sampled_from([None, HOST]),
)
def test_every_term_is_multiplied_once_and_the_same_call_has_the_same_plan(
    structure, batch, backward, strategy, host
):
    arguments = {"strategy": strategy, "backward": backward, "host": host}
    plan = make_plan(structure, batch, CPU, **arguments)
    assert sorted(t for program in plan for t in program.terms) == list(range(len(structure.terms)))
    make_plan.cache_clear()
    assert make_plan(structure, batch, CPU, **arguments) == plan


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("batch", [1, 3, 100, 2000])
@pytest.mark.parametrize("text", ["4:64x64*64x64", "16:28x32*28x32", "2:8x10*10x5*10x10"])
def test_auto_is_the_cheapest_of_the_strategies(text, batch, backward):
    structure = KroneckerStructure.parse(text)
    seconds = {
        strategy: CPU.seconds(
            total(make_plan(structure, batch, CPU, strategy=strategy, backward=backward))
        )
        for strategy in ("auto", *STRATEGIES)
    }
    # whole_batch is left out where its intermediates are large
    assert seconds["auto"] <= min(seconds[s] for s in STRATEGIES if s != "whole_batch")


@pytest.mark.parametrize("batch", [32, 256, 1024, 10_000])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("text", ["4:64x64*64x64", "16:96x96*96x64", "4:196x64*128x64"])
def test_intermediates_stay_within_their_bound(text, backward, batch):
    structure = KroneckerStructure.parse(text)
    (program,) = make_plan(structure, batch, CPU, backward=backward)
    kernel = 2 * 4 * structure.dense_parameters
    bound = kernel if program.strategy == "materialize" else 24 * 2**20
    assert program.work.peak <= bound


@pytest.mark.parametrize("batch", [2, 64, 3000])
def test_accelerators_never_loop_over_samples(batch):
    for text in ("1:64x64*64x64", "16:64x64*64x64", "2:8x10*10x5*10x10"):
        for program in make_plan(KroneckerStructure.parse(text), batch, GPU):
            assert program.strategy in ("whole_batch", "materialize")


def test_a_strategy_that_is_asked_for_is_had_on_any_platform():
    structure = KroneckerStructure.parse("2:3x4*4x3+2:2x2*2x2*3x3")
    for costs in (CPU, GPU):
        for strategy in STRATEGIES:
            plan = make_plan(structure, 20, costs, strategy=strategy, host=HOST)
            assert {program.strategy for program in plan} == {strategy}


@pytest.mark.parametrize("backward", [False, True])
def test_native_without_kernels_is_what_auto_is(backward):
    structure = KroneckerStructure.parse("2:3x4*4x3+2:2x2*2x2*3x3")
    arguments = {"backward": backward}
    auto = make_plan(structure, 20, CPU, **arguments)
    assert make_plan(structure, 20, CPU, strategy="native", **arguments) == auto
    assert "native" not in {p.strategy for p in auto}


@pytest.mark.parametrize("dtype", ["float16", "int32"])
def test_there_is_no_native_kernel_for_other_types(dtype):
    structure = KroneckerStructure.parse("4:64x64*64x64")
    (program,) = make_plan(structure, 64, CPU, dtype=dtype, strategy="native", host=HOST)
    assert program.strategy != "native"


@given(structures(max_terms=1), st.integers(1, 300), st.booleans())
def test_what_stands_in_for_a_native_kernel_is_a_program_of_xla(structure, batch, backward):
    for program in make_plan(
        structure, batch, CPU, strategy="native", backward=backward, host=HOST
    ):
        if program.strategy == "native":
            assert program.otherwise.strategy != "native"
            assert program.work.native > 0
            assert program.work.native_flops >= 2 * batch * structure.terms[0].rank


def test_large_ranks_are_formed_and_small_ones_beside_them_are_not():
    structure = KroneckerStructure.parse("64:8x8*8x8+1:4x4*16x16")
    assert make_plan(structure, 10_000, CPU)[0].strategy == "materialize"
    small = KroneckerStructure.parse("1:64x64*64x64")
    assert make_plan(small, 64, CPU)[0].strategy != "materialize"


def test_terms_that_are_formed_share_one_product():
    structure = KroneckerStructure.parse("64:8x8*8x8+16:4x4*16x16")
    (program,) = make_plan(structure, 10_000, CPU)
    assert program.terms == (0, 1)


def test_by_flops_alone_the_order_is_the_best_one():
    """A first: 2 b r n2 m1 (n1 + m2); B first: 2 b r n1 m2 (n2 + m1)."""
    for text, left_first in [("3:4x9*5x2", False), ("3:9x4*2x5", True)]:
        ((n1, m1), (n2, m2)) = KroneckerStructure.parse(text).terms[0].shapes
        flops = 2 * 50 * 3 * n2 * m1 * (n1 + m2), 2 * 50 * 3 * n1 * m2 * (n2 + m1)
        assert (flops[0] < flops[1]) == left_first
        (program,) = make_plan(
            KroneckerStructure.parse(text), 50, ONLY_FLOPS, strategy="whole_batch"
        )
        assert program.left_first == left_first
        assert program.work.flops == min(flops)


def compiled_flops(function, *args):
    return jax.jit(function).lower(*args).compile().cost_analysis()["flops"]


@pytest.mark.parametrize("text", ["3:12x8*10x6", "2:6x4*5x4*3x4"])
def test_the_model_counts_the_flops_of_the_compiled_program(text):
    structure = KroneckerStructure.parse(text)
    factors = tuple(map(tuple, random_factors(structure)))
    factors = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), factors)
    x = jnp.ones((24, structure.inputs))
    for program in candidate_programs(structure, 24, CPU):
        if program.strategy in ("whole_batch", "batched", "materialize"):  # XLA counts a loop once
            found = compiled_flops(
                lambda x, f, p=program: multiply(p, structure, None, x, f), x, factors
            )
            assert found == pytest.approx(program.work.flops, rel=0.2), program


def test_work_adds_up_and_takes_the_largest_peak():
    programs = candidate_programs(KroneckerStructure.parse("3:12x8*10x6"), 24, CPU)
    whole = total(tuple(programs))
    assert whole.flops == sum(p.work.flops for p in programs)
    assert whole.peak == max(p.work.peak for p in programs)
    one = programs[0].work
    assert one.times(3) == dataclasses.replace(one + one + one, peak=one.peak)


def test_an_unknown_strategy_is_refused():
    assert "'fast'" in message_of(
        make_plan, KroneckerStructure.parse("1:2x2*2x2"), 4, CPU, strategy="fast"
    )
