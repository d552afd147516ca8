"""Second moments of a layer's inputs: from samples, checked, and as Kronecker products."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Float

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
    if not np.allclose(moment, moment.T, rtol=0, atol=1e-5 * np.abs(moment).max()):
        raise ValueError("The second moment is not symmetric; give x.T @ x / len(x).")
    moment = (moment + moment.T) / 2
    lowest = scipy.linalg.eigvalsh(moment, subset_by_index=(0, 0), check_finite=False)[0]
    if lowest < -1e-5 * max(np.trace(moment), 0):
        raise ValueError(
            f"The second moment has the negative eigenvalue {lowest:.3g}, which no inputs give; "
            "give x.T @ x / len(x)."
        )
    return moment


def _weighing_something(name: str, moment: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    if not np.isfinite(moment).all():
        raise ValueError(f"{name} has numbers that are NaN, infinite or too large to square.")
    if not moment.any():
        raise ValueError(f"{name} is all zeros, so it weighs nothing: leave the statistics out.")
    return moment


def kronecker_roots(
    moment: Float[np.ndarray, "n n"], shapes: Shape
) -> list[Float[np.ndarray, "_ _"]]:
    """Returns lower triangular ``L_k`` so that ``moment`` is near ``(x)_k L_k @ L_k.T``.

    The nearest Kronecker product of a positive semi-definite matrix has positive semi-definite
    factors. It is found by power sweeps from the partial traces: each factor in turn is the
    moment contracted with the others, which keeps them so. A little of the identity is added to
    each, so that the roots can be inverted.

    Args:
      moment: second moment of the padded inputs, ``n = prod n_k``.
      shapes: shape of the term, whose ``n_k`` count.
    """
    sides = [n for n, _ in shapes]
    tensor = moment.reshape(*sides, *sides)
    count = len(sides)
    factors = [np.eye(n) / np.sqrt(n) for n in sides]
    for _ in range(_SWEEPS if count > 1 else 1):
        before = factors[0]
        for k in range(count):
            operands: list[Any] = [tensor, list(range(2 * count))]
            for other in range(count):
                if other != k:
                    operands += [factors[other], [other, count + other]]
            factor = np.einsum(*operands, [k, count + k], optimize=True)
            norm = np.linalg.norm(factor)
            factors[k] = factor / norm
        if np.linalg.norm(factors[0] - before) < 1e-8:
            break
    factors[-1] = factors[-1] * norm
    return [
        np.linalg.cholesky(f + _JITTER * np.trace(f) / len(f) * np.eye(len(f))) for f in factors
    ]


def moment_root(moment: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Returns a matrix ``R`` with ``R.T @ R = moment``: ``||R @ k||`` weighs ``k`` by it."""
    values, vectors = scipy.linalg.eigh(moment, check_finite=False)
    return np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
