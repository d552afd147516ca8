import jax.numpy as jnp
import numpy as np
import pytest

from kfc_jax import BlockDiagonalDense, CompressedModel, InputStatistics, convert, to_dense
from kfc_jax.decompose import decompose_kernel
from kfc_jax.product import dense_kernel
from kfc_jax.structures import read_layer_structure
from tests.kfc_jax.reference import message_of

TEXTS = ["blocks 4", "blocks 4 interleaved", "blocks 1"]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def is_in_a_block(text, inputs, features):
    """Says of every entry of a kernel whether it is in a block, as the definition has it."""
    blocks = int(text.split()[1])
    row, column = np.indices((inputs, features))
    group = row % blocks if "interleaved" in text else row // (inputs // blocks)
    return group == column // (features // blocks)


@pytest.mark.parametrize("text", TEXTS)
def test_without_statistics_the_blocks_are_those_of_the_kernel(text):
    kernel = normal(12, 8)
    structure = read_layer_structure(text, 12, 8)
    arrays, report = decompose_kernel(structure, kernel)
    expected = np.where(is_in_a_block(text, 12, 8), kernel, 0)
    np.testing.assert_array_equal(dense_kernel(structure, arrays), expected)
    error = np.linalg.norm(kernel - expected) / np.linalg.norm(kernel)
    assert report.relative_error == pytest.approx(error)
    assert report.output_error is None
    assert report.num_parameters == structure.num_parameters


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("samples", [50, 5])
def test_with_statistics_the_output_is_nearest_as_least_squares_has_it(text, samples):
    kernel = normal(12, 8)
    x = (normal(samples, 12, seed=1) @ normal(12, 12, seed=2)).astype(np.float64)
    structure = read_layer_structure(text, 12, 8)
    arrays, report = decompose_kernel(structure, kernel, statistics=x)
    found = np.asarray(dense_kernel(structure, arrays), np.float64)
    exact, squares = x @ kernel, 0.0
    for column, rows in enumerate(is_in_a_block(text, 12, 8).T):
        own = x[:, rows]
        rest = exact[:, column] - own @ np.linalg.lstsq(own, exact[:, column], rcond=None)[0]
        squares += rest @ rest
    assert np.linalg.norm(exact - x @ found) == pytest.approx(np.sqrt(squares), rel=1e-3, abs=1e-4)
    error = np.linalg.norm(exact - x @ found) / np.linalg.norm(exact)
    assert report.output_error == pytest.approx(error, rel=1e-3, abs=1e-6)


def test_a_kernel_of_another_size_or_statistics_of_other_inputs_are_refused():
    structure = read_layer_structure("blocks 4", 12, 8)
    assert "12x8" in message_of(decompose_kernel, structure, normal(8, 12))
    statistics = InputStatistics.of(normal(20, 8))
    message = message_of(decompose_kernel, structure, normal(12, 8), statistics=statistics)
    assert "of 8 inputs" in message


def test_a_trained_model_is_converted_run_and_made_dense_again():
    import flax.linen as nn

    model, x = nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(3)]), normal(20, 12)
    params = {
        "layers_0": {"kernel": normal(12, 8), "bias": normal(8, seed=1)},
        "layers_2": {"kernel": normal(8, 3, seed=2), "bias": normal(3, seed=3)},
    }
    structures = {"layers_0": "blocks 2 interleaved"}
    small, reports = convert(params, structures, statistics={"layers_0": x})
    assert small["layers_0"]["kernel_blocks"].shape == (2, 6, 4)
    assert 0 < reports["layers_0"].output_error < 1
    dense = to_dense(small, structures)
    outputs = CompressedModel(model, structures).apply({"params": small}, x)
    np.testing.assert_allclose(outputs, model.apply({"params": dense}, x), rtol=1e-4, atol=1e-4)
    layer = BlockDiagonalDense(8, structure="blocks 2 interleaved")
    np.testing.assert_allclose(
        layer.apply({"params": small["layers_0"]}, jnp.asarray(x)),
        x @ np.asarray(dense["layers_0"]["kernel"]) + small["layers_0"]["bias"],
        rtol=1e-4,
        atol=1e-4,
    )
