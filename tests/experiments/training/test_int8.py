import jax.numpy as jnp
import numpy as np

from experiments.training.int8 import rounded_to_int8, stored_bytes


def test_weights_are_on_a_grid_of_255_steps_by_column_and_all_else_stays():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 5, 4)) * [1, 10, 0.01, 0]
    params = {"kernel": jnp.float32(kernel), "bias": jnp.float32(rng.normal(size=4))}
    rounded = rounded_to_int8(params)
    np.testing.assert_array_equal(rounded["bias"], params["bias"])
    steps = np.abs(kernel).max((0, 1)) / 127
    error = np.abs(rounded["kernel"] - kernel)
    assert np.all(error <= 0.5001 * steps + 1e-12)
    assert np.any(error[..., 0] > 0.3 * steps[0])
    for column in range(3):
        entries = rounded["kernel"][..., column] / steps[column]
        np.testing.assert_allclose(entries, np.round(entries), atol=1e-4)
        assert np.abs(entries).max().round(3) == 127


def test_bytes_are_those_of_weights_scales_and_floats():
    variables = {"kernel": jnp.ones((6, 4)), "factor": jnp.ones((2, 3, 5)), "bias": jnp.ones(4)}
    assert stored_bytes(variables) == {
        "float32": 4 * (24 + 30 + 4),
        "int8": (24 + 4 * 4) + (30 + 4 * 5) + 4 * 4,
    }
