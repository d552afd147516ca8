import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.data.augmentation import random_shift


def _shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """Pads with the border's pixels and crops."""
    height, width, _ = image.shape
    margin = max(abs(down), abs(right))
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    top, left = margin - down, margin - right
    return padded[top : top + height, left : left + width]


def _found_shifts(images, shifted, max_pixels) -> list[tuple[int, int]]:
    """The one shift that explains each image; fails where none or several do."""
    found = []
    for before, after in zip(np.asarray(images), np.asarray(shifted), strict=True):
        candidates = [
            (down, right)
            for down in range(-max_pixels, max_pixels + 1)
            for right in range(-max_pixels, max_pixels + 1)
            if np.array_equal(_shifted(before, down, right), after)
        ]
        assert len(candidates) == 1
        found.extend(candidates)
    return found


def _images(batch, height, width, channels, dtype=np.float32):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.integers(0, 256, (batch, height, width, channels)), dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, jnp.bfloat16])
@pytest.mark.parametrize(("shape", "max_pixels"), [((9, 7, 1), 2), ((5, 6, 3), 4), ((4, 4, 2), 1)])
def test_every_image_is_its_own_shift_of_the_original(shape, max_pixels, dtype):
    images = _images(16, *shape, dtype)
    shifted = jax.jit(random_shift, static_argnums=2)(jax.random.key(1), images, max_pixels)
    assert shifted.shape == images.shape
    assert shifted.dtype == images.dtype
    assert len(set(_found_shifts(images, shifted, max_pixels))) > 1


def test_all_shifts_are_equally_likely_in_both_directions():
    images = jnp.tile(_images(1, 8, 8, 1), (5_000, 1, 1, 1))
    shifted = np.asarray(random_shift(jax.random.key(0), images, 2))
    kinds = {
        (down, right): _shifted(np.asarray(images[0]), down, right)
        for down in range(-2, 3)
        for right in range(-2, 3)
    }
    counts = np.array([(shifted == kind).all(axis=(1, 2, 3)).sum() for kind in kinds.values()])
    assert counts.sum() == 5_000
    # Binomial with mean 200 and standard deviation 13.9.
    assert counts.min() > 200 - 5 * 14
    assert counts.max() < 200 + 5 * 14


def test_the_key_decides():
    images = _images(8, 9, 9, 1)
    first, same, other = (random_shift(jax.random.key(k), images, 3) for k in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_no_shift_leaves_the_images_alone():
    images = _images(3, 4, 4, 1)
    np.testing.assert_array_equal(random_shift(jax.random.key(0), images, 0), images)


@pytest.mark.parametrize("max_pixels", [-1, 4])
def test_a_shift_out_of_range_is_refused(max_pixels):
    with pytest.raises(ValueError, match=rf"max_pixels {max_pixels} is not in 0 \.\.\. 3.*4x6"):
        random_shift(jax.random.key(0), _images(1, 4, 6, 1), max_pixels)
