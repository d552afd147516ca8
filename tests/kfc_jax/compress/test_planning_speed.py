"""Plans of larger kernels try few shapes, sketch their errors, and lose next to nothing by it."""

import re

import numpy as np
import pytest

import kfc_jax.compress.options as options
from kfc_jax import Budget, InputStatistics, plan_compression
from kfc_jax.compress.progress import Progress
from kfc_jax.compress.shape_search import search, undominated
from kfc_jax.structures import KroneckerStructure


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def kernels():
    """A kernel near a few Kronecker products, a smooth one, and one of noise, all 72x96."""
    products = sum(np.kron(normal(9, 8, seed=i), normal(8, 12, seed=9 + i)) for i in range(3))
    waves = np.hypot(np.fft.fftfreq(72)[:, None], np.fft.rfftfreq(96)[None])
    smooth = np.fft.irfft2(np.fft.rfft2(normal(72, 96)) / (1 + 20 * waves) ** 1.5, s=(72, 96))
    return {
        "products": products / products.std() + normal(72, 96, seed=30),
        "smooth": smooth / smooth.std(),
        "noise": normal(72, 96, seed=31),
    }


@pytest.fixture
def searched(monkeypatch):
    """Treats small kernels as larger ones: their shapes are searched, and sketched."""
    monkeypatch.setattr(options, "_SMALL", 0)
    monkeypatch.setattr("kfc_jax.decompose.spectra._SKETCH_SIDE", 8)


@pytest.mark.parametrize("name", kernels())
@pytest.mark.parametrize("budget", [0.06, 0.25])
def test_a_searched_plan_is_as_good_as_one_of_all_shapes_and_tells_true_errors(
    name, budget, request
):
    params = {"fc": {"kernel": kernels()[name].astype(np.float32)}}
    exhaustive = plan_compression(params, budget)
    request.getfixturevalue("searched")
    plan = plan_compression(params, budget)
    assert plan.parameters <= budget * 72 * 96
    assert exhaustive.error * (1 - 1e-4) <= plan.error <= 1.01 * exhaustive.error
    told = plan_compression(params, 1.0, structures=plan.structures)
    assert plan.error == pytest.approx(told.error, rel=1e-4)


def test_few_tries_find_the_products_that_a_kernel_is_made_of(searched, monkeypatch):
    monkeypatch.setattr(options, "_SKETCHED", 0)
    kernel = np.kron(normal(9, 8), normal(8, 12, seed=1)) + 0.2 * normal(72, 96, seed=2)
    params = {"fc": {"kernel": kernel.astype(np.float32)}}
    plan = plan_compression(params, 9 * 8 + 8 * 12, max_shapes=24)
    assert plan.structures == {"fc": "1:9x8*8x12"}


def test_a_searched_plan_with_statistics_is_as_good_as_one_of_all_shapes(request):
    kernel = kernels()["products"].astype(np.float32)
    inputs = normal(300, 72, seed=5) @ (normal(72, 72, seed=6) * np.geomspace(1, 0.05, 72))
    params = {"fc": {"kernel": kernel, "bias": np.zeros(96, np.float32)}}
    statistics = {"fc": InputStatistics.of(inputs.astype(np.float32))}
    exhaustive = plan_compression(params, 0.2, statistics=statistics)
    request.getfixturevalue("searched")
    plan = plan_compression(params, 0.2, statistics=statistics)
    assert plan.parameters <= 0.2 * kernel.size + 96
    assert plan.error <= 1.01 * exhaustive.error
    # The factors that come of it are no worse than the plan says.
    told = plan_compression(params, 1.0, structures=plan.structures, statistics=statistics)
    assert told.error <= plan.error * 1.001


def test_shapes_are_left_out_only_where_another_can_do_the_same_at_nearly_that_cost():
    structures = KroneckerStructure.of_rank_one(256, 512)
    shapes = np.array([s.terms[0].shapes for s in structures])
    units = np.array([s.num_parameters for s in structures])
    ranks = 256 * 512 // units
    kept = undominated(shapes[:, 0], shapes[:, 1], units, ranks)
    assert 0 < len(kept) < len(units)
    for left in set(range(len(units))) - set(kept):
        covered = False
        for other in kept:
            for side in (0, 1):  # a factor of `other` is `times` times that of the shape left out
                ratio = shapes[other, side] / shapes[left, side]
                if (ratio == ratio.round()).all():
                    covered |= ratio.prod() * units[other] <= 1.002 * units[left]
        assert covered
    few = np.ones_like(ranks)  # no other shape has the ranks to do the same
    assert len(undominated(shapes[:, 0], shapes[:, 1], units, few)) == len(units)


def test_a_search_follows_the_best_to_its_neighbours():
    firsts = np.array([(2**i, 2**j) for i in range(9) for j in range(9)])
    tried = []

    def scores_of(index):
        tried.append(tuple(firsts[index]))
        return np.array([np.abs(np.log2(firsts[index]) - (5, 2)).sum()])

    search(firsts, scores_of, 30, lambda: False)
    assert len(tried) == len(set(tried)) == 30
    assert (32, 4) in tried
    tried.clear()
    search(firsts, scores_of, 30, lambda: True)
    assert len(tried) == 8  # a quarter, and the time is over


def test_when_the_time_is_over_there_is_a_plan_within_the_budget_all_the_same(searched):
    params = {name: {"kernel": kernel.astype(np.float32)} for name, kernel in kernels().items()}
    plan = plan_compression(params, 0.2, seconds=1e-9)
    assert plan.parameters <= 0.2 * plan.dense_parameters
    assert 0 < plan.error < 2
    assert plan_compression(params, Budget.error(0.9), seconds=1e-9).error <= 0.95


def test_progress_goes_to_the_callback_with_the_time_left(monkeypatch, capsys):
    monkeypatch.setattr("kfc_jax.compress.progress.QUIET_SECONDS", 0.0)
    lines = []
    params = {name: {"kernel": kernel.astype(np.float32)} for name, kernel in kernels().items()}
    plan_compression(params, 0.3, progress=lines.append)
    assert len(lines) >= 3
    assert all(
        re.fullmatch(r"planning: .* done; \d+ s so far, about \d+ s left.*", line) for line in lines
    )
    assert "100% done" in lines[2]
    assert capsys.readouterr() == ("", "")


def test_nothing_is_printed_in_the_first_five_seconds_and_lines_after_them(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("kfc_jax.compress.progress.time.monotonic", lambda: now[0])
    progress = Progress(None, None)
    progress.begin("shapes", 10)
    now[0] = 4.0
    progress.advance(4)
    assert capsys.readouterr() == ("", "")
    now[0] = 6.0
    progress.advance(1)
    assert "shapes, 50% done; 6 s so far, about 6 s left" in capsys.readouterr().err
    progress.advance(1)
    assert capsys.readouterr() == ("", "")


def test_a_time_that_is_no_time_is_refused():
    params = {"fc": {"kernel": normal(8, 8).astype(np.float32)}}
    for seconds in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="seconds is"):
            plan_compression(params, 0.5, seconds=seconds)
