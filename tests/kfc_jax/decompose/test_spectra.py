"""The errors of all ranks at once are those of the decompositions, or close upper bounds."""

import numpy as np
import pytest

from kfc_jax import InputStatistics, KroneckerStructure, low_rank, nearest_kronecker_sum
from kfc_jax.decompose import errors_at_ranks
from kfc_jax.structures import DenseStructure, LowRankStructure


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("text", ["1:4x3*6x5", "1:6x5*4x3", "1:24x1*1x15"])
def test_errors_of_two_factors_are_those_of_the_decompositions(text):
    kernel, structure = normal(24, 15), KroneckerStructure.parse(text)
    found = errors_at_ranks(structure, kernel, 6)
    assert found.are_exact
    expected = [
        nearest_kronecker_sum(kernel, structure.with_rank(rank))[1].relative_error ** 2
        for rank in range(1, 7)
    ]
    np.testing.assert_allclose(found.squares, expected, rtol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_errors_of_low_rank_are_those_of_the_decompositions(weighted):
    kernel, x = normal(24, 15), normal(100, 24, seed=1) @ normal(24, 24, seed=2) + 1
    statistics = InputStatistics.of(x) if weighted else None
    found = errors_at_ranks(LowRankStructure(24, 15, 1), kernel, 6, statistics=statistics)
    assert found.are_exact
    for rank, square in enumerate(found.squares, 1):
        _, report = low_rank(kernel, rank, statistics=statistics)
        error = report.output_error if weighted else report.relative_error
        assert square == pytest.approx(error**2, rel=1e-4)


def test_errors_of_padded_shapes_are_upper_bounds():
    kernel, structure = normal(23, 14), KroneckerStructure.parse("1:4x3*6x5@23x14")
    found = errors_at_ranks(structure, kernel, 6)
    assert not found.are_exact
    for rank, square in enumerate(found.squares, 1):
        _, report = nearest_kronecker_sum(kernel, structure.with_rank(rank))
        assert report.relative_error**2 <= square * (1 + 1e-6)


def test_weighted_errors_are_exact_where_the_second_moment_is_a_kronecker_product():
    a, b = normal(4, 4, seed=1), normal(6, 6, seed=2)
    moment = np.kron(a @ a.T + np.eye(4), b @ b.T + np.eye(6))
    kernel, structure = normal(24, 15), KroneckerStructure.parse("1:4x3*6x5")
    found = errors_at_ranks(structure, kernel, 6, statistics=InputStatistics(moment))
    assert not found.are_exact
    for rank, square in enumerate(found.squares, 1):
        _, report = nearest_kronecker_sum(
            kernel, structure.with_rank(rank), statistics=InputStatistics(moment)
        )
        assert square == pytest.approx(report.output_error**2, rel=0.05)


@pytest.mark.parametrize("decay", [1.0, 0.98])
def test_errors_of_the_largest_kernels_are_close_upper_bounds(decay, monkeypatch):
    monkeypatch.setattr("kfc_jax.decompose.spectra._GRAM_SIDE", 100)
    monkeypatch.setattr("kfc_jax.decompose.spectra._MAX_RANK", 20)
    kernel = (normal(600, 450) * decay ** np.arange(450)).astype(np.float32)
    values = np.linalg.svd(kernel.astype(np.float64), compute_uv=False)
    exact = 1 - np.cumsum(values**2)[:20] / np.sum(values**2)
    structure = LowRankStructure(600, 450, 1)
    squares = errors_at_ranks(structure, kernel, 300, dtype=np.float32).squares
    assert squares.shape == (20,)
    assert (squares >= exact * (1 - 1e-5)).all()
    assert (squares <= exact * 1.05).all()


def test_a_kind_without_ranks_says_what_to_register():
    with pytest.raises(NotImplementedError, match=r"DenseStructure.*errors_at_ranks\.register"):
        errors_at_ranks(DenseStructure(4, 3), normal(4, 3), 2)
