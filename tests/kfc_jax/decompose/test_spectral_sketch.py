"""Sketched energies are near the squared singular values, and quick fits near the full ones."""

import numpy as np
import pytest

from kfc_jax import InputStatistics, KroneckerStructure, nearest_kronecker_sum
from kfc_jax.decompose import ShapeErrors, WeightedFits
from kfc_jax.decompose.spectral_sketch import sketched_energies
from kfc_jax.structures import LowRankStructure


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def with_spikes():
    return normal(200, 320) + 40 * np.linalg.qr(normal(200, 4, seed=1))[0] @ normal(4, 320, seed=2)


@pytest.mark.parametrize("make", [lambda: normal(200, 320), with_spikes, lambda: with_spikes().T])
def test_what_the_leading_values_leave_is_within_a_percent(make):
    matrix = make().astype(np.float32)
    exact = np.linalg.svd(matrix.astype(np.float64), compute_uv=False) ** 2
    found = sketched_energies(matrix, exact.sum())
    assert found.sum() == pytest.approx(exact.sum())
    assert (np.diff(found) <= 0).all()
    for rank in (1, 4, 10, 40, 80):
        assert np.sqrt(found[rank:].sum()) == pytest.approx(np.sqrt(exact[rank:].sum()), rel=0.01)


def test_a_matrix_of_low_rank_and_one_of_zeros_are_no_obstacle():
    matrix = (normal(100, 3) @ normal(3, 90, seed=1)).astype(np.float32)
    found = sketched_energies(matrix, float(np.vdot(matrix, matrix)))
    assert found[3:].sum() <= 1e-5 * found.sum()
    assert not sketched_energies(np.zeros((100, 90), np.float32), 0.0).any()


@pytest.mark.parametrize("weighted", [False, True])
def test_sketched_errors_are_near_those_of_all_values(weighted):
    kernel = with_spikes()
    statistics = InputStatistics.of(normal(400, 200, seed=3)) if weighted else None
    errors = ShapeErrors(kernel, statistics)
    for structure in (KroneckerStructure.parse("1:20x16*10x20"), LowRankStructure(200, 320, 1)):
        exact = errors.all_values(structure, 60)
        found = errors.sketched(structure, 60)
        assert not found.are_exact
        np.testing.assert_allclose(np.sqrt(found.squares), np.sqrt(exact.squares), rtol=0.015)


@pytest.mark.parametrize("text", ["2:4x5*6x8", "3:24x1*1x40", "4:2x20*12x2"])
def test_short_fits_reach_what_the_same_number_of_sweeps_does(text):
    kernel, structure = normal(24, 40), KroneckerStructure.parse(text)
    inputs = 1 + normal(60, 24, seed=1) @ (normal(24, 24, seed=2) * np.geomspace(1, 0.1, 24))
    statistics = InputStatistics.of(inputs)
    _, report = nearest_kronecker_sum(kernel, structure, statistics=statistics, max_sweeps=3)
    for dtype in (np.float32, np.float64):
        fits = WeightedFits(kernel, statistics, dtype=dtype)
        of_kernel, of_output = fits.errors(structure, 3)
        assert of_output == pytest.approx(report.output_error, rel=0.01)
        assert of_kernel == pytest.approx(report.relative_error, rel=0.05)
        assert of_output <= fits.errors(structure, 0)[1] * 1.001
