import pytest

from experiments.benchmarking.cases import BATCHES, PASSES, RANKS, SHAPES, Case, all_cases


def test_every_combination_is_a_cell_once():
    found = all_cases()
    assert len(found) == len({case.key for case in found}) == 7 * 3 * 4 * 2
    assert len(found) == len(SHAPES) * len(RANKS) * len(BATCHES) * len(PASSES)
    assert Case(4096, 3755, 16, 1024, "training") in found


def test_the_structure_is_balanced_and_padded_where_needed():
    assert str(Case(4096, 4096, 4, 1, "forward").structure) == "4:64x64*64x64"
    structure = Case(4096, 3755, 1, 1, "forward").structure
    assert structure.is_padded
    assert structure.features == 3755


def test_arrays_have_the_shapes_of_the_structure_and_are_the_same_each_time():
    case = Case(12, 20, 2, 3, "training")
    arrays = case.arrays()
    ((n1, m1), (n2, m2)) = case.structure.terms[0].shapes
    shapes = {name: array.shape for name, array in arrays.items()}
    assert shapes == {"x": (3, 12), "g": (3, 20), "a": (2, n1, m1), "b": (2, n2, m2)}
    assert all((arrays[name] == again).all() for name, again in case.arrays().items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shapes": ["784"]}, "--shapes holds '784'; write a layer as inputs x features"),
        ({"shapes": ["0x5"]}, "--shapes holds '0x5'"),
        ({"ranks": [0]}, "--ranks holds 0; every number must be at least 1"),
        ({"batches": [8, -1]}, "--batches holds -1"),
        ({"passes": ["backward"]}, "--passes holds 'backward'; take of forward, training"),
        ({"shapes": ["4x4"], "ranks": [64]}, "Rank 64"),
    ],
)
def test_a_wrong_choice_of_cells_is_one_clear_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        all_cases(**arguments)
