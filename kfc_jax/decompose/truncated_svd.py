"""The leading part of a singular value decomposition, by the method that suits the size."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from jaxtyping import Float

_FULL_SIDE = 384  # up to it a full decomposition takes well under a second
_OVERSAMPLING = 8
_MOST_BLOCKS = 10  # in the basis, before it is compressed
_MOST_STEPS = 300
_GAIN = 1e-7  # of the squared error: a step that lowers it less is the last


def uses_truncated_svd(shape: tuple[int, int], rank: int) -> bool:
    """Whether ``rank`` triplets of a matrix of this shape come from the block Lanczos method."""
    return min(shape) > _FULL_SIDE and rank <= min(shape) // 8


def leading_singular(
    matrix: Float[np.ndarray, "rows columns"], rank: int
) -> tuple[
    Float[np.ndarray, "rows rank"], Float[np.ndarray, " rank"], Float[np.ndarray, "rank columns"]
]:
    """Returns the ``rank`` largest singular values and their vectors ``u, s, vh``, falling.

    Small matrices are decomposed in full, large ones by a block Lanczos method from a fixed start,
    until the error of ``(u * s) @ vh`` is within about 1e-7 of the least, relatively.
    """
    if not uses_truncated_svd(matrix.shape, rank):
        u, s, vh = scipy.linalg.svd(matrix, full_matrices=False, check_finite=False)
        return u[:, :rank], s[:rank], vh[:rank]
    if matrix.shape[0] < matrix.shape[1]:
        u, s, vh = _block_lanczos(matrix.T, rank)
        return vh.T, s, u.T
    return _block_lanczos(matrix, rank)


def _block_lanczos(matrix: Float[np.ndarray, "rows columns"], rank: int) -> tuple[np.ndarray, ...]:
    """Block Lanczos on ``matrix.T @ matrix``, with full orthogonalisation and thick restarts.

    Almost all of the work is products of the matrix with whole blocks of vectors, which are much
    faster than as many products with single ones.
    """
    block = rank + _OVERSAMPLING
    most = max(3, min(_MOST_BLOCKS, matrix.shape[1] // (2 * block))) * block
    total, captured = np.vdot(matrix, matrix), 0.0
    new = np.random.default_rng(0).standard_normal((matrix.shape[1], block))
    new = scipy.linalg.qr(new, mode="economic", check_finite=False)[0]
    basis, images = new[:, :0], matrix[:, :0]
    for _ in range(_MOST_STEPS):
        image = matrix @ new
        basis, images = np.hstack([basis, new]), np.hstack([images, image])
        values, ritz = scipy.linalg.eigh(images.T @ images, check_finite=False)
        energy = values[-rank:].sum()
        if energy - captured <= _GAIN * max(0.0, total - energy) + 1e-14 * total:
            break
        captured = energy
        new = matrix.T @ image
        for _ in range(3):  # the first pass alone leaves rounding errors of the second's size
            new -= basis @ (basis.T @ new)
            new = scipy.linalg.qr(new, mode="economic", check_finite=False)[0]
        if basis.shape[1] + block > most:
            basis, images = basis @ ritz[:, -block:], images @ ritz[:, -block:]
    ritz = ritz[:, -rank:]
    u, s, mix = scipy.linalg.svd(images @ ritz, full_matrices=False, check_finite=False)
    return u, s, mix @ (basis @ ritz).T
