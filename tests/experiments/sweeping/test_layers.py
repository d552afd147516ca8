import math

import pytest

from experiments.models import LayerSpec
from experiments.sweeping import (
    block_diagonal,
    dense,
    kfc,
    low_rank,
    low_rank_for,
    structures_for,
)
from kfc_jax import KroneckerStructure


@pytest.mark.parametrize("num_factors", [2, 3])
@pytest.mark.parametrize("size", [(800, 500), (784, 1024), (1024, 3755), (127, 10)])
def test_structures_fit_the_layer_and_its_budgets(size, num_factors):
    budgets = [size[0] * size[1] // 10, size[0] * size[1] // 4]
    structures = structures_for(*size, budgets, num_factors, max_shapes=5)
    assert len(set(structures)) == len(structures) > 2
    for text in structures:
        structure = KroneckerStructure.parse(text)
        assert str(structure) == text
        assert (structure.inputs, structure.features) == size
        assert structure.terms[0].num_factors == num_factors
        assert any(abs(structure.num_parameters / budget - 1) <= 0.2 for budget in budgets)


def test_structures_have_no_bottleneck():
    for text in structures_for(800, 500, [2_600], max_shapes=100):
        (term,) = KroneckerStructure.parse(text).terms
        assert math.prod(min(shape) for shape in term.shapes) >= 250
        assert all(min(shape) > 1 for shape in term.shapes)


def test_max_shapes_takes_shapes_from_even_to_uneven():
    every = structures_for(800, 500, [5_200], max_shapes=1_000)
    some = structures_for(800, 500, [5_200], max_shapes=3)
    assert len(every) > 10
    assert (some[0], some[-1]) == (every[0], every[-1])
    assert len(some) == 3
    assert structures_for(800, 500, [5_200], max_shapes=1) == every[:1]


def test_a_fraction_is_a_budget_of_the_dense_kernel():
    assert structures_for(800, 500, [0.013]) == structures_for(800, 500, [5_200])
    assert low_rank_for(800, 500, [0.013]) == low_rank_for(800, 500, [5_200])


def test_low_rank_matches_the_budgets_it_can():
    # rank * (800 + 500); rank 1 is over 20% away from 400 and 650, rank 2 from 2,000
    assert low_rank_for(800, 500, [400, 650, 1_300, 2_000, 5_000, 20_800]) == [1, 4, 16]


@pytest.mark.parametrize("budget", [0, -3, 400_001, 1.5, 0.0])
def test_an_impossible_budget_is_refused(budget):
    for function in (structures_for, low_rank_for):
        with pytest.raises(ValueError, match="A budget is"):
            function(800, 500, [budget])


def test_a_budget_below_the_smallest_product_is_refused():
    with pytest.raises(ValueError, match="about 400 parameters; a single product has at least 1,"):
        structures_for(800, 500, [400], num_factors=2)


def test_the_layers_are_what_the_models_take():
    for overrides, spec in (
        (dense("model.fc1"), LayerSpec("dense")),
        (low_rank("model.fc1", 4), LayerSpec("low_rank", rank=4)),
        (block_diagonal("model.fc1", "blocks 2"), LayerSpec("block_diagonal", "blocks 2")),
        (kfc("model.fc1", "2:16x20*50x25"), LayerSpec("kfc", structure="2:16x20*50x25")),
    ):
        fields = {name.removeprefix("model.fc1."): value for name, value in overrides.items()}
        assert LayerSpec(**fields) == spec
