"""The weights of a data-weighted decomposition: the second moment of a layer's inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Float

from kfc_jax.structures import Shape

_CHUNK = 4096
_JITTER = 1e-8  # of the mean eigenvalue: makes a singular second moment invertible
_SWEEPS = 30


def second_moment_of(
    inputs: Any | None, second_moment: Any | None, size: int
) -> Float[np.ndarray, "n n"] | None:
    """Returns the second moment ``mean(x x^T)`` in float64, or None if neither is given.

    Args:
      inputs: samples ``(..., n)`` of the layer's inputs, or None.
      second_moment: their second moment ``(n, n)``, or None.
      size: the n that the kernel asks for.

    Raises:
      ValueError: if both are given, the shape is wrong, or the numbers cannot be inputs or a
        second moment (not finite, all zero, not symmetric, negative eigenvalues).
    """
    if inputs is None and second_moment is None:
        return None
    if inputs is not None and second_moment is not None:
        raise ValueError("Got both inputs and second_moment: give one of them.")
    if inputs is not None:
        name, moment = "inputs", _moment_of_samples(inputs, size)
    else:
        name, moment = "second_moment", np.asarray(second_moment, np.float64)
        if moment.shape != (size, size):
            raise ValueError(
                f"second_moment has shape {moment.shape}, but the kernel has {size} rows: give the "
                f"({size}, {size}) matrix x.T @ x / len(x), or samples as inputs=x."
            )
    if not np.isfinite(moment).all():
        raise ValueError(f"{name} has numbers that are NaN, infinite or too large to square.")
    scale = np.trace(moment) / size
    if not moment.any():
        raise ValueError(f"{name} is all zeros, so it weighs nothing: leave it out.")
    if name == "second_moment":
        if not np.allclose(moment, moment.T, rtol=0, atol=1e-5 * np.abs(moment).max()):
            raise ValueError("second_moment is not symmetric; give x.T @ x / len(x).")
        moment = (moment + moment.T) / 2
        lowest = scipy.linalg.eigvalsh(moment, subset_by_index=(0, 0), check_finite=False)[0]
        if lowest < -1e-5 * max(scale, 0) * size:
            raise ValueError(
                f"second_moment has the negative eigenvalue {lowest:.3g}, which no inputs give; "
                "give x.T @ x / len(x)."
            )
    return moment


def _moment_of_samples(inputs: Any, size: int) -> Float[np.ndarray, "n n"]:
    shape = np.shape(inputs)
    if not shape or shape[-1] != size or 0 in shape:
        raise ValueError(
            f"inputs has shape {shape}, but the kernel has {size} rows: give samples of the "
            f"layer's inputs, an array (..., {size}) with at least one sample."
        )
    samples = np.asarray(inputs).reshape(-1, size)
    moment = np.zeros((size, size))
    with np.errstate(over="ignore", invalid="ignore"):  # found and named by the caller
        for start in range(0, len(samples), _CHUNK):
            chunk = samples[start : start + _CHUNK].astype(np.float64)
            moment += chunk.T @ chunk
    return moment / len(samples)


def kronecker_roots(
    moment: Float[np.ndarray, "n n"], shapes: Shape
) -> list[Float[np.ndarray, "n_k n_k"]]:
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
