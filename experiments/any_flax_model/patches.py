"""Images as rows of patches, which Mixers and vision transformers see as tokens."""

from __future__ import annotations

from jaxtyping import Array, Float


def patches(
    images: Float[Array, "batch height width channels"], size: int
) -> Float[Array, "batch tokens pixels"]:
    """Cuts images into squares of `size` pixels a side."""
    batch, height, width, channels = images.shape
    rows, columns = height // size, width // size
    cut = images.reshape(batch, rows, size, columns, size, channels).swapaxes(2, 3)
    return cut.reshape(batch, rows * columns, size * size * channels)
