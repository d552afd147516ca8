"""The convolution over blocks of pixels is the plain one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from experiments.models.first_convolution import block_convolution


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("sides", [(1, 1), (3, 3), (5, 5), (7, 7), (3, 5), (2, 3)])
@pytest.mark.parametrize("shape", [(12, 16, 1), (8, 8, 3), (9, 12, 1)])
def test_it_is_the_convolution_of_every_pixel(shape, sides, padding):
    random = np.random.default_rng(0)
    images = jnp.asarray(random.normal(size=(2, *shape)), jnp.float32)
    plain = nn.Conv(6, sides, padding=padding)
    params = plain.init(jax.random.key(0), images)
    blocks = nn.Conv(6, sides, padding=padding, conv_general_dilated=block_convolution)
    np.testing.assert_allclose(
        blocks.apply(params, images), plain.apply(params, images), rtol=1e-5, atol=1e-5
    )
