import dataclasses
import itertools

import numpy as np
import pytest

from experiments.benchmarking.calibration import CASES, _work, calibrate
from experiments.benchmarking.fitting import Measurement, fit, losses, quality
from kfc_jax.product.cost_model import KINDS, Costs, Work, costs_of
from kfc_jax.product.native import host_of
from kfc_jax.product.planner import candidate_programs

TRUE = Costs(
    calls=7e-6,
    flops=5e-12,
    small=2e-12,
    touched=2e-11,
    moved=3e-10,
    spilled=2e-10,
    rounds=2e-6,
    native=1e-10,
    cache=4 * 2**20,
    loops=True,
)


def synthetic(true, noise=0.0):
    """Returns measurements of a machine that behaves exactly, or nearly, as the model says."""
    rng, found = np.random.default_rng(0), []
    for group in range(20):
        for _ in range(8):
            scale = 10 ** rng.uniform(0, 3, len(KINDS))
            base = Work(10, 1e8, 1e7, 1e6, 1e5, 0, 10, native=1e6)
            amounts = {k: getattr(base, k) * s for k, s in zip(KINDS, scale, strict=True)}
            intermediate = 2 ** rng.uniform(18, 26)

            def work_with(cache, amounts=amounts, intermediate=intermediate):
                spilled = intermediate if intermediate > cache else 0.0
                return Work(**{**amounts, "spilled": spilled})

            seconds = true.seconds(work_with(true.cache)) * (1 + noise * rng.standard_normal())
            found.append(Measurement(group, work_with, seconds))
    return found


def test_the_fit_recovers_the_constants_of_a_machine_that_follows_the_model():
    costs = fit(synthetic(TRUE), loops=True)
    assert costs.cache == TRUE.cache
    for kind in KINDS:
        assert getattr(costs, kind) == pytest.approx(getattr(TRUE, kind), rel=1e-6), kind
    of = quality(costs, synthetic(TRUE))
    assert of.error_90 < 1e-6
    assert of.good_choices == 1


def test_noise_moves_the_constants_little_and_none_gets_negative():
    costs = fit(synthetic(TRUE, noise=0.05), loops=True)
    assert all(getattr(costs, kind) >= 0 for kind in KINDS)
    assert costs.flops == pytest.approx(TRUE.flops, rel=0.1)


def test_the_fit_does_not_choose_worse_than_the_constants_that_are_known():
    found = synthetic(TRUE, noise=0.3)  # so that least squares alone would
    costs = fit(found, loops=True, known=TRUE)
    assert quality(costs, found).mean_loss <= 1.01 * quality(TRUE, found).mean_loss


def test_a_platform_without_loops_has_no_cache_size():
    assert fit(synthetic(dataclasses.replace(TRUE, spilled=0.0)), loops=False).cache == np.inf


def test_quality_counts_the_choices_that_lose():
    def measurement(group, calls, seconds):
        return Measurement(group, lambda _: Work(calls=calls), seconds)

    found = [measurement("a", 1, 2.0), measurement("a", 2, 1.0), measurement("b", 1, 1.0)]
    costs = dataclasses.replace(TRUE, calls=1.0)
    assert losses(costs, found) == {"a": 2.0, "b": 1.0}
    of = quality(costs, found)
    assert of.good_choices == 0.5
    assert of.worst_loss == 2.0
    assert of.mean_loss == pytest.approx(2**0.5)
    assert of.median_error == pytest.approx(0.5)


def test_work_of_a_program_follows_the_cache_size():
    costs = costs_of("cpu")
    case = next(c for c in CASES if c.batch == 512 and c.rank == 16 and c.pass_ == "forward")
    for program in candidate_programs(case.structure, case.batch, costs, host=host_of("cpu")):
        assert _work(case, program, costs, costs.cache) == program.work
    spilled = {
        cache: sum(
            _work(case, p, costs, cache).spilled
            for p in candidate_programs(case.structure, case.batch, costs, host=host_of("cpu"))
        )
        for cache in (2**18, 2**30)
    }
    assert spilled[2**18] > spilled[2**30] == 0


def test_calibration_covers_sizes_ranks_and_batches_of_both_passes():
    assert {case.pass_ for case in CASES} == {"forward", "backward"}
    assert {case.rank for case in CASES} == {1, 4, 16}
    assert {1, 512} <= {case.batch for case in CASES}
    assert all(len(set(pair)) == 2 for pair in itertools.pairwise(CASES))


def test_calibration_writes_constants_that_the_planner_reads(tmp_path, monkeypatch):
    from experiments.benchmarking import calibration

    small = [dataclasses.replace(c, inputs=12, features=20, rank=1, batch=8) for c in CASES[:2]]
    monkeypatch.setattr(calibration, "CASES", small)
    monkeypatch.setattr(calibration, "_SECONDS", 1e-3)
    path, said = tmp_path / "made" / "costs.json", []
    costs = calibrate(path, said.append)
    monkeypatch.setenv("KFC_JAX_COSTS", str(path))
    assert costs_of("cpu") == costs
    assert any("fitted: relative error" in line for line in said)


def test_an_interrupted_calibration_leaves_no_file(tmp_path, monkeypatch):
    from experiments.benchmarking import calibration

    def interrupted(cases, costs):
        yield from ()
        raise KeyboardInterrupt

    monkeypatch.setattr(calibration, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        calibrate(tmp_path / "costs.json", lambda _: None)
    assert not list(tmp_path.iterdir())
