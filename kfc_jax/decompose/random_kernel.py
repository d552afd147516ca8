"""What a random kernel keeps of its energy, beside which that of a trained one is judged.

The entries are normal numbers from a fixed seed. Where weights are a Kronecker product, rotations
do not change how such a kernel is distributed, so that the weights' eigenvalues alone count.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import scipy.linalg
from jaxtyping import Float

from kfc_jax.decompose.spectral_sketch import MIN_SIDE, sketched_energies
from kfc_jax.structures import KroneckerTerm

_EXACT_SIDE = 512  # of a root, up to which its singular values are found exactly


def random_shares(
    term: KroneckerTerm, roots: Sequence[Float[np.ndarray, "_ _"]] | None
) -> tuple[Float[np.ndarray, " ranks"], float]:
    """Returns which part of a random kernel's energy the best sums of 1, 2, ... products keep.

    The second result is how many entries of equal weight vary as much by chance.

    Args:
      term: a shape of two factors.
      roots: the roots of the Kronecker product by which the error is weighted; None: no weights.
    """
    sides = [n * m for n, m in term.shapes]
    if roots is None:
        return _plain_shares(sides[0], sides[1]), float(sides[0] * sides[1])
    first, second = (
        np.repeat(np.sqrt(_energies(root)), m).astype(np.float32)
        for root, (_, m) in zip(roots, term.shapes, strict=True)
    )
    shares = _shares(first[:, None] * _normal(sides[0], sides[1]) * second)
    return shares, _count(first**2) * _count(second**2)


def _count(weights: Float[np.ndarray, " n"]) -> float:
    """Returns how many equal weights make a mean as exact as these do."""
    total = float(weights.sum(dtype=np.float64))
    squares = float(np.square(weights, dtype=np.float64).sum())
    return total**2 / squares if squares > 0 else 1.0


@functools.lru_cache(maxsize=256)
def _plain_shares(rows: int, columns: int) -> Float[np.ndarray, " ranks"]:
    return _shares(_normal(min(rows, columns), max(rows, columns)))


def _normal(rows: int, columns: int) -> Float[np.ndarray, "rows columns"]:
    return np.random.default_rng(0).standard_normal((rows, columns), np.float32)


def _energies(root: Float[np.ndarray, "n n"]) -> Float[np.ndarray, " n"]:
    """Returns the squared singular values of a root, those of a large one about."""
    if len(root) > _EXACT_SIDE:
        return sketched_energies(root, float(np.vdot(root, root)))
    return np.maximum(scipy.linalg.eigvalsh(root.T @ root, check_finite=False)[::-1], 0.0)


def _shares(matrix: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, " ranks"]:
    total = float(np.einsum("ij,ij->", matrix, matrix, dtype=np.float64))
    if min(matrix.shape) > MIN_SIDE:
        energies = sketched_energies(matrix, total)
    else:
        wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
        energies = np.maximum(scipy.linalg.eigvalsh(wide @ wide.T, check_finite=False)[::-1], 0)
    return np.minimum(np.cumsum(energies.astype(np.float64)) / (total or 1.0), 1.0)
