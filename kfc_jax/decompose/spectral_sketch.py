"""All squared singular values of a matrix, estimated from a few products with it.

A few steps of the block Lanczos method from random vectors find the largest values one by one, and
tell of the others how they are distributed (stochastic Lanczos quadrature: Ubaru, Chen & Saad,
2017). The result is not exact, but it takes a small part of the time of all singular values.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from jaxtyping import Float

MIN_SIDE = 64
"""A matrix's shorter side up to which a sketch would save nothing."""

_BLOCK = 8  # vectors that are multiplied at once
_STEPS = 6
_CONVERGED = 0.05  # of a value: what its residual may be to count as one value of its own
_MAX_WEIGHT = 2.5  # of a converged value that stands for itself alone
_NO_NEW_DIRECTION = 3e-7  # of a block's norm: in float32 this is rounding


def sketched_energies(
    matrix: Float[np.ndarray, "rows columns"], total: float
) -> Float[np.ndarray, " count"]:
    """Returns estimates of all squared singular values, falling, whose sum is ``total``.

    The same matrix gives the same estimates. On matrices of hundreds of rows, what the leading
    values leave has been within a percent of the truth until little is left.

    Args:
      matrix: the matrix, float32 or float64; its smaller side should be above 64.
      total: the squared Frobenius norm of the matrix.
    """
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    count = len(matrix)
    if total <= 0:
        return np.zeros(count)
    nodes, weights, residuals = _quadrature(matrix)
    lone = (residuals <= _CONVERGED * nodes) & (weights < _MAX_WEIGHT)
    heads = len(lone) if lone.all() else int(np.argmin(lone))
    energies = np.empty(count)
    energies[:heads] = nodes[:heads]
    rest = max(0.0, total - energies[:heads].sum())
    bulk, of_bulk = nodes[heads:], weights[heads:]
    if len(bulk) and of_bulk.sum() > 0:
        of_bulk = of_bulk * ((count - heads) / of_bulk.sum())
        middles = np.cumsum(of_bulk) - of_bulk / 2
        tail = np.interp(np.arange(count - heads) + 0.5, middles, bulk)
    else:
        tail = np.ones(count - heads)
    if tail.sum() > 0:
        tail *= rest / tail.sum()
    energies[heads:] = tail
    return np.sort(energies)[::-1]


def _quadrature(
    matrix: Float[np.ndarray, "rows columns"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Returns falling Ritz values of ``matrix @ matrix.T``, how many each stands for, residuals."""
    count = len(matrix)
    steps = max(1, min(_STEPS, count // _BLOCK))
    block = min(_BLOCK, count)
    random = np.random.default_rng(0).standard_normal((count, block), np.float32)
    new = _orthonormal(random.astype(matrix.dtype), 0.0)
    basis = np.zeros((count, steps * block), matrix.dtype)
    projected = np.zeros((steps * block, steps * block))
    rest = new
    for step in range(steps):
        here = slice(step * block, (step + 1) * block)
        seen = slice(0, here.stop)
        basis[:, here] = new
        rest = matrix @ (matrix.T @ new)
        inner, norm = basis[:, seen].T @ rest, float(np.linalg.norm(rest))
        projected[seen, here] = inner
        projected[here, seen] = inner.T
        rest = rest - basis[:, seen] @ inner
        if step + 1 < steps:
            rest -= basis[:, seen] @ (basis[:, seen].T @ rest)
            new = _orthonormal(rest, _NO_NEW_DIRECTION * norm)
    values, vectors = scipy.linalg.eigh(projected, check_finite=False)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    weights = count / block * np.square(vectors[:block]).sum(0)
    residuals = np.linalg.norm(rest @ vectors[-block:].astype(matrix.dtype), axis=0)
    return values, weights, residuals.astype(np.float64)


def _orthonormal(
    block: Float[np.ndarray, "rows columns"], rounding: float
) -> Float[np.ndarray, "rows columns"]:
    """Returns an orthonormal basis of a thin block's columns, 0 where it has no direction more.

    It is found from the small matrix of their inner products, twice, for the sake of rounding: the
    first columns may be millions of times as long as the others.
    """
    exact = block.astype(np.float64)
    for least in (rounding, 0.5):
        sizes, vectors = scipy.linalg.eigh(exact.T @ exact, check_finite=False)
        keep = sizes > max(least**2, 1e-15 * sizes[-1])
        exact = exact @ (vectors * np.where(keep, 1 / np.sqrt(np.where(keep, sizes, 1)), 0))
    return exact.astype(block.dtype)
