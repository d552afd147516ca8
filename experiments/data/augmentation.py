"""Random changes to training images, computed on the device inside the jitted step."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, Num


def random_shift(
    key: Key[Array, ""], images: Num[Array, "batch height width channels"], max_pixels: int
) -> Num[Array, "batch height width channels"]:
    """Shifts every image by its own whole number of pixels, vertically and horizontally.

    Both distances are uniform in -max_pixels ... max_pixels. The pixels at the border are
    repeated into the gap, so it makes no difference whether the images are normalised before or
    after, nor whether the background is black or white. Batches may be sharded over their first
    axis (over a mesh with `jax.sharding.AxisType.Auto`); no communication is needed then.

    Args:
      key: a random key; the same key gives the same shifts.
      images: of any real dtype, which is kept.
      max_pixels: static; 0 <= max_pixels < min(height, width). 0 changes nothing.

    Raises:
      ValueError: max_pixels is out of range.
    """
    batch, height, width, _ = images.shape
    if not 0 <= max_pixels < min(height, width):
        raise ValueError(
            f"max_pixels {max_pixels} is not in 0 ... {min(height, width) - 1}, which images of "
            f"{height}x{width} allow: choose a smaller shift, 0 for none"
        )
    if max_pixels == 0:
        return images
    shifts = jax.random.randint(key, (batch, 2), -max_pixels, max_pixels + 1)

    def shift_one(image: Array, shift: Array) -> Array:
        rows = jnp.clip(jnp.arange(height) - shift[0], 0, height - 1)
        columns = jnp.clip(jnp.arange(width) - shift[1], 0, width - 1)
        return image[rows[:, None], columns]

    return jax.vmap(shift_one)(images, shifts)
