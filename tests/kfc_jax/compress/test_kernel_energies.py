"""A plan tells whether kernels have Kronecker structure, and which layers are too small for any."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfc_jax import CompressionPlan, InputStatistics, plan_compression
from kfc_jax.compress.kernel_energies import KernelEnergies
from tests.kfc_jax.reference import message_of


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def kronecker_sum(seed=0):
    return sum(np.kron(normal(9, 8, seed=seed + i), normal(8, 12, seed=9 + i)) for i in range(3))


def of_low_rank():
    return normal(72, 7) @ normal(7, 96, seed=1)


KERNELS = {
    "random": normal(72, 96, seed=5),
    "products": kronecker_sum() + 0.3 * kronecker_sum().std() * normal(72, 96, seed=6),
    "low rank": of_low_rank(),
    "low rank and noise": of_low_rank() + 2 * normal(72, 96, seed=7),
    "products and low rank": kronecker_sum() + 0.3 * of_low_rank(),
}


def statistics_of(size, seed=3):
    mix = normal(size, size, seed=seed) * np.geomspace(1, 0.2, size)
    return InputStatistics.of((normal(600, size, seed=seed + 1) @ mix.T).astype(np.float32))


def energies_of(kernel, budget=0.2, statistics=None, **options):
    params = {"fc": {"kernel": np.asarray(kernel, np.float32)}}
    seen = None if statistics is None else {"fc": statistics}
    return plan_compression(params, budget, statistics=seen, **options).layers[0].energies


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_with_kronecker_structure_are_told_from_all_others(name, weighted):
    found = energies_of(KERNELS[name], statistics=statistics_of(72) if weighted else None)
    assert found.has_kronecker_structure == name.startswith("products")
    assert found.is_random == (name == "random")
    assert str(found).startswith("no Kronecker structure") != name.startswith("products")
    if name == "low rank":
        assert "low rank keeps 100%" in str(found)
        assert "no Kronecker structure that low rank does not have, too" in str(found)


def test_what_is_kept_is_told_of_the_best_sum_of_the_planned_size():
    kernel = KERNELS["products"]
    plan = plan_compression({"fc": {"kernel": kernel.astype(np.float32)}}, 0.2)
    (layer,) = plan.layers
    assert layer.energies.parameters == layer.parameters
    assert layer.energies.kronecker == pytest.approx(1 - layer.relative_error**2, abs=0.005)
    values = np.linalg.svd(kernel, compute_uv=False) ** 2
    rank = layer.parameters // (72 + 96)
    shares = np.cumsum(values) / values.sum()
    assert shares[rank - 1] - 1e-6 <= layer.energies.low_rank <= shares[rank] + 1e-6


@pytest.mark.parametrize("searched", [False, True])
def test_a_random_kernel_keeps_what_singular_values_of_random_numbers_tell(searched, monkeypatch):
    if searched:
        monkeypatch.setattr("kfc_jax.compress.options._SMALL", 0)
    kept = [energies_of(normal(240, 180, seed=seed)) for seed in (1, 2)]
    for found in kept:
        assert found.kronecker == pytest.approx(found.random, abs=0.02)
        assert found.is_random


def check_scales(name, power, budget, seen):
    """Checks that a factor of the kernel, and of its inputs, changes nothing but by rounding."""
    plain = energies_of(KERNELS[name], budget, seen)
    scaled = None if seen is None else InputStatistics(seen.second_moment * 4.0**power)
    other = energies_of(KERNELS[name] * 2.0**power, budget, scaled)
    for part in ("kronecker", "random", "low_rank"):
        assert getattr(other, part) == pytest.approx(getattr(plain, part), abs=1e-3)
    assert str(other) == str(plain)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(sorted(KERNELS)), st.integers(-40, 40), st.floats(0.1, 0.6))
def test_the_scale_of_a_kernel_does_not_count(name, power, budget):
    check_scales(name, power, budget, None)


@pytest.mark.parametrize("power", [-30, 30])
def test_nor_does_the_scale_of_its_inputs(power):
    check_scales("low rank and noise", power, 0.2, statistics_of(72))


def test_a_layer_that_is_left_is_judged_at_half_its_size():
    params = {name: {"kernel": KERNELS[name].astype("f4")} for name in ("random", "products")}
    (random, products) = plan_compression(params, 1.0).layers
    assert random.structure == products.structure == "dense"
    assert random.energies.parameters == 72 * 96 // 2
    assert random.energies.is_random
    assert products.energies.has_kronecker_structure


def test_the_parts_of_a_stack_are_told_in_the_mean():
    parts = [KernelEnergies(10, 60.0, share, 0.25, low) for share, low in ((0.5, 0.5), (0.75, 1.0))]
    mean = KernelEnergies.mean(parts)
    assert mean == KernelEnergies(10, 120.0, 0.625, 0.25, 0.75)
    assert KernelEnergies.mean([*parts, None]) is None


def test_plans_print_what_they_found_and_keep_it_in_json():
    params = {"fc": {"kernel": KERNELS["random"].astype(np.float32)}}
    plan = plan_compression(params, 0.2)
    assert f"fc: {plan.layers[0].energies}" in str(plan).splitlines()
    assert CompressionPlan.from_json(plan.to_json()) == plan
    of_before = json.loads(plan.to_json())
    del of_before["layers"][0]["energies"], of_before["layers"][0]["is_too_small"]
    assert CompressionPlan.from_json(json.dumps(of_before)).structures == plan.structures


# ------------------------------------------------------------------------------------- too small


def small_model():
    return {
        "fc": {"kernel": normal(40, 30).astype(np.float32)},
        "tiny": {"kernel": normal(2, 2).astype(np.float32)},
    }


def test_layers_that_no_structure_makes_smaller_are_said_to_be_too_small():
    plan = plan_compression(small_model(), 0.5)
    assert [layer.is_too_small for layer in plan.layers] == [False, True]
    assert "tiny: too small, no structure makes it smaller and faster" in str(plan).splitlines()
    assert plan.structures["tiny"] == "dense"
    left = plan_compression(small_model(), 0.5, exclude=["tiny"])
    assert not left.layers[1].is_too_small


def test_a_budget_below_the_least_does_not_ask_for_layers_that_are_too_small():
    message = message_of(plan_compression, small_model(), 10)
    assert "let more layers be replaced" not in message
    assert "tiny: too small for any structure to make them smaller" in message
    message = message_of(plan_compression, small_model(), 10, exclude=["fc"])
    assert "let more layers be replaced (fc)" in message
