"""What one plan has found is of use for the next, which is the same plan all the same."""

import numpy as np
import pytest

import kfc_jax.compress.kernel_errors as kernel_errors
from kfc_jax import Budget, InputStatistics, plan_compression
from tests.kfc_jax.reference import message_of

BUDGETS = (0.5, 0.15, 0.3, Budget.flops(0.4), Budget.error(0.4))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture
def params():
    return {
        "first": {"kernel": normal(48, 60), "bias": np.zeros(60, np.float32)},
        "last": {"kernel": np.kron(normal(6, 8), normal(10, 5, seed=1)) + normal(60, 40, seed=2)},
    }


@pytest.fixture
def seen():
    return {
        "first": InputStatistics.of(normal(300, 48, seed=3) * np.geomspace(1, 0.1, 48)),
        "last": normal(200, 60, seed=4),
    }


@pytest.fixture
def searched(monkeypatch):
    """Treats the kernels as large ones, whose shapes are searched and errors sketched."""
    monkeypatch.setattr("kfc_jax.compress.options._SMALL", 0)
    monkeypatch.setattr("kfc_jax.decompose.spectra._SKETCH_SIDE", 8)


@pytest.fixture
def work(monkeypatch):
    """Counts the errors that are computed."""
    done = []
    for owner, names in (
        (kernel_errors.ShapeErrors, ("all_values", "sketched", "random_shares")),
        (kernel_errors.WeightedFits, ("errors",)),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, _counted(getattr(owner, name), done))
    return done


def _counted(function, done):
    def count(self, structure, *arguments):
        done.append(str(structure))
        return function(self, structure, *arguments)

    return count


@pytest.mark.parametrize("is_searched", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_plans_are_the_same_with_what_others_have_found(
    params, seen, weighted, is_searched, request
):
    if is_searched:
        request.getfixturevalue("searched")
    statistics, reuse = seen if weighted else None, {}
    for budget in BUDGETS:
        plan = plan_compression(params, budget, statistics=statistics, reuse=reuse)
        assert plan == plan_compression(params, budget, statistics=statistics)


@pytest.mark.parametrize("weighted", [False, True])
def test_nothing_is_computed_twice(params, seen, weighted, work, searched, tmp_path):
    statistics = seen if weighted else None
    for reuse in ({}, tmp_path / "errors.npz"):
        first = plan_compression(params, 0.3, statistics=statistics, reuse=reuse)
        assert work
        work.clear()
        assert plan_compression(params, 0.3, statistics=statistics, reuse=reuse) == first
        assert not work
        plan_compression(params, 0.25, statistics=statistics, reuse=reuse)
        with_reuse = len(work)
        work.clear()
        plan_compression(params, 0.25, statistics=statistics)
        assert with_reuse < len(work) / 2
        work.clear()


def test_what_was_found_of_another_kernel_or_with_other_statistics_is_not_taken(params, seen):
    reuse = {}
    plan_compression(params, 0.3, statistics=seen, reuse=reuse)
    other = {**params, "last": {"kernel": normal(60, 40, seed=9)}}
    for model, statistics in (
        (other, seen),
        (params, {**seen, "first": normal(300, 48, seed=8)}),
        (params, None),
        ({**params, "first": {"kernel": params["first"]["kernel"]}}, seen),  # without its bias
    ):
        fresh = plan_compression(model, 0.3, statistics=statistics)
        assert plan_compression(model, 0.3, statistics=statistics, reuse=reuse) == fresh


def test_a_file_is_read_without_pickles_and_refused_if_it_is_another_one(params, tmp_path):
    path = tmp_path / "errors.npz"
    plan_compression(params, 0.3, reuse=str(path))
    with np.load(path, allow_pickle=False) as file:
        assert sum(file["lengths"]) == len(file["values"])
    content = path.read_bytes()
    plan_compression(params, 0.3, reuse=path)
    assert path.read_bytes() == content  # nothing was new
    assert list(tmp_path.iterdir()) == [path]
    for damaged in (content[: len(content) // 2], b"", b"text"):
        path.write_bytes(damaged)
        assert "holds no errors that a plan has found" in message_of(
            plan_compression, params, 0.3, reuse=path
        )
