import numpy as np
import pytest
import scipy.linalg

from kfc_jax.product import dense_kernel
from kfc_jax.structures import BlockDiagonalStructure, layer_kinds, read_layer_structure
from tests.kfc_jax.reference import message_of

# Input i of so many belongs to group i % 4 of those that are interleaved.
INTERLEAVED = np.argsort(np.arange(12) % 4, kind="stable")


@pytest.mark.parametrize(
    ("text", "is_interleaved"), [("blocks 4", False), ("blocks 4 interleaved", True)]
)
def test_text_and_structure_mean_each_other(text, is_interleaved):
    structure = read_layer_structure(text, 12, 8)
    assert structure == BlockDiagonalStructure(12, 8, 4, is_interleaved)
    assert str(structure) == text
    assert structure.config_fields() == {"kind": "block_diagonal", "structure": text, "rank": 0}
    assert layer_kinds()["block_diagonal"] is BlockDiagonalStructure


def test_it_has_as_many_parameters_and_operations_as_its_blocks():
    structure = read_layer_structure("blocks 100", 800, 500)
    assert structure.num_parameters == 100 * 8 * 5
    assert structure.flops(batch=3) == 3 * 2 * 100 * 8 * 5
    assert structure.array_shapes == {"kernel_blocks": (100, 8, 5)}
    assert structure.size_of("blocks 100", structure.array_shapes) == (800, 500)
    assert structure.matrix_rank == 500
    assert structure.of_rank_one(800, 500) == ()


@pytest.mark.parametrize("blocks", [0, 3, 200])
def test_blocks_that_are_not_equal_are_refused_naming_those_that_are(blocks):
    message = message_of(read_layer_structure, f"blocks {blocks}", 800, 500)
    assert f"'blocks {blocks}' does not fit a kernel of 800x500" in message
    assert "take 1 or 2 or 4 or 5 or 10 or 20 or 25 or 50 or 100 blocks" in message


def test_another_text_is_told_how_blocks_are_written():
    assert "'blocks 4' (block_diagonal)" in message_of(read_layer_structure, "blocks", 800, 500)


def test_the_kernel_has_the_blocks_on_its_diagonal_and_zeros_elsewhere():
    blocks = np.random.default_rng(0).standard_normal((4, 3, 2)).astype(np.float32)
    expected = scipy.linalg.block_diag(*blocks)
    kernel = dense_kernel(read_layer_structure("blocks 4", 12, 8), {"kernel_blocks": blocks})
    np.testing.assert_array_equal(kernel, expected)
    assert np.linalg.matrix_rank(kernel) == 8
    interleaved = read_layer_structure("blocks 4 interleaved", 12, 8)
    kernel = dense_kernel(interleaved, {"kernel_blocks": blocks})
    np.testing.assert_array_equal(np.asarray(kernel)[INTERLEAVED], expected)


def test_arrays_of_another_shape_are_refused():
    structure = read_layer_structure("blocks 4", 12, 8)
    arrays = {"kernel_blocks": np.zeros((2, 6, 4), np.float32)}
    assert "'blocks 4' needs" in message_of(dense_kernel, structure, arrays)


@pytest.mark.parametrize("text", ["blocks 4", "blocks 4 interleaved"])
def test_groups_and_inputs_are_views_of_each_other(text):
    structure = read_layer_structure(text, 12, 8)
    inputs = np.arange(24).reshape(2, 12)
    groups = structure.groups_of(inputs)
    assert groups.shape == (2, 4, 3)
    np.testing.assert_array_equal(structure.inputs_of(groups), inputs)
    first = [0, 4, 8] if structure.is_interleaved else [0, 1, 2]
    np.testing.assert_array_equal(groups[0, 0], first)
