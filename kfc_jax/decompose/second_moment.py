"""Second moments of a layer's inputs: from samples, checked, and as Kronecker products."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Float

from kfc_jax.decompose.rearrangement import rearrange
from kfc_jax.structures import Shape

_CHUNK = 4096
_JITTER = 1e-8  # of the mean eigenvalue: makes a singular second moment invertible
_SWEEPS = 30


def moment_of_samples(samples: Any, size: int) -> Float[np.ndarray, "n n"]:
    """Returns the second moment ``mean(x x^T)`` of samples ``(..., size)``, in float64.

    Raises:
      ValueError: if there is no sample, the last axis is not ``size``, a number is not finite or
        too large to square, or all are zero.
    """
    shape = np.shape(samples)
    if not shape or shape[-1] != size or 0 in shape:
        raise ValueError(
            f"The samples have the shape {shape}, but the kernel has {size} rows: give samples of "
            f"the layer's inputs, an array (..., {size}) with at least one sample."
        )
    flat = np.asarray(samples).reshape(-1, size)
    moment = np.zeros((size, size))
    with np.errstate(over="ignore", invalid="ignore"):  # found and named below
        for start in range(0, len(flat), _CHUNK):
            chunk = flat[start : start + _CHUNK].astype(np.float64)
            moment += chunk.T @ chunk
    return _weighing_something("The samples", moment / len(flat))


def checked_moment(moment: Any) -> Float[np.ndarray, "n n"]:
    """Returns a second moment in float64, made exactly symmetric.

    Raises:
      ValueError: if it cannot be one: it is not square, not finite, all zero or not symmetric, or
        it has a negative eigenvalue.
    """
    moment = np.asarray(moment, np.float64)
    if moment.ndim != 2 or moment.shape[0] != moment.shape[1]:
        raise ValueError(f"A second moment is a square matrix; got the shape {moment.shape}.")
    _weighing_something("The second moment", moment)
    if np.abs(moment - moment.T).max() > 1e-5 * max(moment.max(), -moment.min()):
        raise ValueError("The second moment is not symmetric; give x.T @ x / len(x).")
    moment = (moment + moment.T) / 2
    allowed = 1e-5 * max(np.trace(moment), 0)
    try:  # far faster than the eigenvalues, and there is a factor just if they are above
        np.linalg.cholesky(moment + allowed * np.eye(len(moment)))
    except np.linalg.LinAlgError:
        lowest = scipy.linalg.eigvalsh(moment, subset_by_index=(0, 0), check_finite=False)[0]
        if lowest >= -allowed:
            return moment
        raise ValueError(
            f"The second moment has the negative eigenvalue {lowest:.3g}, which no inputs give; "
            "give x.T @ x / len(x)."
        ) from None
    return moment


def _weighing_something(name: str, moment: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    if not np.isfinite(moment).all():
        raise ValueError(f"{name} has numbers that are NaN, infinite or too large to square.")
    if not moment.any():
        raise ValueError(f"{name} is all zeros, so it weighs nothing: leave the statistics out.")
    return moment


def kronecker_roots(
    moment: Float[np.ndarray, "n n"], shapes: Shape, tolerance: float = 1e-8
) -> list[Float[np.ndarray, "_ _"]]:
    """Returns lower triangular ``L_k`` so that ``moment`` is near ``(x)_k L_k @ L_k.T``.

    The nearest Kronecker product of a positive semi-definite matrix has positive semi-definite
    factors. It is found by power sweeps from the partial traces: each factor in turn is the
    moment contracted with the others, which keeps them so. A little of the identity is added to
    each, so that the roots can be inverted.

    Args:
      moment: second moment of the padded inputs, ``n = prod n_k``, float32 or float64.
      shapes: shape of the term, whose ``n_k`` count.
      tolerance: the sweeps end when one changes the first factor by less.

    Returns:
      The roots, in float64.
    """
    sides = [n for n, _ in shapes]
    # As a tensor of the factors' entries, so that each contraction reads it in order.
    tensor = rearrange(moment, tuple((n, n) for n in sides))
    count = len(sides)
    factors = [(np.eye(n) / np.sqrt(n)).ravel().astype(moment.dtype) for n in sides]
    for _ in range(_SWEEPS if count > 1 else 1):
        before = factors[0]
        for k in range(count):
            factor = tensor
            for other in reversed([i for i in range(count) if i != k]):
                factor = np.tensordot(factor, factors[other], (other, 0))
            norm = np.linalg.norm(factor)
            factors[k] = factor / norm
        if np.linalg.norm(factors[0] - before) < tolerance:
            break
    factors[-1] = factors[-1] * norm
    result = []
    for factor, n in zip(factors, sides, strict=True):
        square = factor.reshape(n, n).astype(np.float64)
        square = (square + square.T) / 2
        jitter = max(_JITTER, np.finfo(moment.dtype).eps * 100) if moment.itemsize < 8 else _JITTER
        result.append(np.linalg.cholesky(square + jitter * np.trace(square) / n * np.eye(n)))
    return result


def moment_root(moment: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Returns a matrix ``R`` with ``R.T @ R = moment``: ``||R @ k||`` weighs ``k`` by it."""
    values, vectors = scipy.linalg.eigh(moment, check_finite=False)
    return np.sqrt(np.maximum(values, 0))[:, None] * vectors.T


def output_root(
    moment: Float[np.ndarray, "n n"], kernel: Float[np.ndarray, "n m"]
) -> Float[np.ndarray, "k m"]:
    """Returns a matrix with the singular values and right vectors of outputs, ``R @ kernel``.

    It comes from the root ``R`` of the inputs' moment or from the outputs' moment, whichever is
    the smaller matrix.
    """
    if kernel.shape[1] < kernel.shape[0]:
        return moment_root(kernel.T @ (moment @ kernel))
    return moment_root(moment) @ kernel
