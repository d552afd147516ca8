"""The leading part of a singular value decomposition, by the method that suits the size."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Float

_FULL_SIDE = 384  # up to it a full decomposition takes well under a second
_OVERSAMPLING = 8
_MAX_BLOCKS = 10  # in the basis, before it is compressed
_MAX_STEPS = 300
_TOLERANCE = 1e-7  # of the squared error: a step that lowers it by less is the last


def uses_truncated_svd(shape: tuple[int, int], rank: int) -> bool:
    """Whether ``rank`` triplets of a matrix of this shape come from the block Lanczos method."""
    return min(shape) > _FULL_SIDE and rank <= min(shape) // 8


def leading_singular(
    matrix: Float[np.ndarray, "rows columns"], rank: int, tolerance: float = _TOLERANCE
) -> tuple[
    Float[np.ndarray, "rows rank"], Float[np.ndarray, " rank"], Float[np.ndarray, "rank columns"]
]:
    """Returns the ``rank`` largest singular values and their vectors ``u, s, vh``, falling.

    Small matrices are decomposed in full, large ones by a block Lanczos method from a fixed start
    (Golub & Underwood, 1977). It ends when a step lowers the squared error of ``(u * s) @ vh`` by
    no more than ``tolerance`` of it. Its singular values are never larger than the true ones.

    Args:
      matrix: the matrix, float32 or float64, which the result's type is, too.
      rank: the number of singular values.
      tolerance: when to end, as a fraction of the squared error.
    """
    if not uses_truncated_svd(matrix.shape, rank):
        u, s, vh = _svd(matrix)
        return u[:, :rank], s[:rank], vh[:rank]
    if matrix.shape[0] < matrix.shape[1]:
        u, s, vh = _block_lanczos(matrix.T, rank, tolerance)
        return vh.T, s, u.T
    return _block_lanczos(matrix, rank, tolerance)


def _block_lanczos(
    matrix: Float[np.ndarray, "rows columns"], rank: int, tolerance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Block Lanczos on ``matrix.T @ matrix``, with full orthogonalisation and thick restarts.

    Almost all of the work is products of the matrix with whole blocks of vectors, which are much
    faster than as many products with single ones.
    """
    block = rank + _OVERSAMPLING
    max_columns = max(3, min(_MAX_BLOCKS, matrix.shape[1] // (2 * block))) * block
    total, captured = np.vdot(matrix, matrix), 0.0
    rounding = max(1e-14, np.finfo(matrix.dtype).eps)
    new = np.random.default_rng(0).standard_normal((matrix.shape[1], block), matrix.dtype)
    new = scipy.linalg.qr(new, mode="economic", check_finite=False)[0]
    basis, images = new[:, :0], matrix[:, :0]
    for _ in range(_MAX_STEPS):
        image = matrix @ new
        basis, images = np.hstack([basis, new]), np.hstack([images, image])
        values, ritz = scipy.linalg.eigh(images.T @ images, check_finite=False)
        energy = values[-rank:].sum()
        if energy - captured <= tolerance * max(0.0, total - energy) + rounding * total:
            break
        captured = energy
        new = matrix.T @ image
        for _ in range(3):  # the first pass alone leaves rounding errors of the second's size
            new -= basis @ (basis.T @ new)
            new = scipy.linalg.qr(new, mode="economic", check_finite=False)[0]
        if basis.shape[1] + block > max_columns:
            basis, images = basis @ ritz[:, -block:], images @ ritz[:, -block:]
    ritz = ritz[:, -rank:]
    u, s, mix = _svd(images @ ritz)
    return u, s, mix @ (basis @ ritz).T


def _svd(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    svd: Any = scipy.linalg.svd  # its types do not tell how many results there are
    return svd(matrix, full_matrices=False, check_finite=False)
