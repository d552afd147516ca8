"""The nearest kernel of a matrix rank, as a product of two thin matrices (truncated SVD)."""

from __future__ import annotations

import time

import jax
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from kfc_jax.decompose.fit_sum import check_kernel, to_float64
from kfc_jax.decompose.fit_term import canonical
from kfc_jax.decompose.input_statistics import InputStatistics, Samples, second_moment_of
from kfc_jax.decompose.report import DecompositionReport
from kfc_jax.decompose.second_moment import moment_root, output_root
from kfc_jax.decompose.truncated_svd import leading_singular
from kfc_jax.decompose.unneeded import with_learnable_zeros
from kfc_jax.structures import KroneckerStructure, KroneckerTerm, LowRankStructure

_ROUNDING = 1e-14  # of the largest energy: a direction of less is one of rounding


def low_rank(
    kernel: Float[Array | np.ndarray, "inputs features"],
    rank: int,
    *,
    statistics: InputStatistics | Samples | None = None,
) -> tuple[tuple[Float[Array, "inputs rank"], Float[Array, "rank features"]], DecompositionReport]:
    """Returns the thin matrices ``u, v`` whose product is nearest to ``kernel``.

    The result is the optimum, with and without statistics (Eckart & Young, 1936). The columns of
    ``u`` and the rows of ``v`` have equal norms, sorted as in ``nearest_kronecker_sum``; where the
    kernel's rank is lower, a column is zero and its row random, always the same, as there.

    Args:
      kernel: the dense kernel ``(inputs, features)``, of any floating type.
      rank: the number of columns of ``u``.
      statistics: what the layer sees, or samples ``(..., inputs)`` of it: with them, the error of
        ``x @ kernel`` is minimised, and that of the kernel without them.

    Returns:
      The matrices, in the kernel's type, and a report.

    Raises:
      ValueError: if the rank is not from 1 to the kernel's smaller side, or a number is out of
        range.
    """
    started = time.perf_counter()
    dtype = check_kernel(kernel)
    rows, columns = np.shape(kernel)
    structure = LowRankStructure(rows, columns, rank)
    moment = second_moment_of(statistics, rows)
    matrix = to_float64(kernel)
    if moment is None:
        u, s, vh = leading_singular(matrix, rank)
        u = u * s
    else:
        # The best approximation of the output is its projection on its leading right singular
        # vectors, and this is linear in the inputs.
        _, _, vh = leading_singular(output_root(moment, matrix), rank)
        u = matrix @ vh.T
    columns_and_rows = KroneckerStructure((KroneckerTerm(((rows, 1), (1, columns)), rank),))
    ((u, v),) = with_learnable_zeros([canonical([u.T, vh])], columns_and_rows, matrix, dtype)
    u, v = (jax.device_put(np.asarray(a, dtype)) for a in (u.T, v))
    difference = matrix - np.asarray(u, np.float64) @ np.asarray(v, np.float64)
    report = DecompositionReport.of(
        kernel, difference, structure.num_parameters, statistics=statistics, started=started
    )
    return (u, v), report


def low_rank_squares(
    kernel: Float[Array | np.ndarray, "inputs features"], moment: Float[np.ndarray, "inputs inputs"]
) -> tuple[Float[np.ndarray, " ranks"], Float[np.ndarray, " ranks"]]:
    """Returns the squared relative errors of `low_rank` at all ranks, of the output and the kernel.

    Args:
      kernel: the dense kernel ``(inputs, features)``.
      moment: the second moment of the layer's inputs.
    """
    matrix = to_float64(kernel)
    if matrix.shape[1] <= matrix.shape[0]:
        energies, right = scipy.linalg.eigh(matrix.T @ (moment @ matrix), check_finite=False)
        kept = np.square(matrix @ right).sum(0)
    else:
        outputs = moment_root(moment) @ matrix
        energies, left = scipy.linalg.eigh(outputs @ outputs.T, check_finite=False)
        # Right vectors are the outputs' products with the left ones, of these squared lengths.
        known = energies > _ROUNDING * energies[-1]
        kept = np.square((matrix @ outputs.T) @ left).sum(0)
        kept = np.divide(kept, energies, out=np.zeros_like(kept), where=known)
    energies = np.maximum(energies, 0)
    total, of_kernel = energies.sum(), np.vdot(matrix, matrix)
    left_over = np.append(np.cumsum(energies)[:-1][::-1], 0.0) / (total or 1.0)
    return left_over, np.maximum(1 - np.cumsum(kept[::-1]) / (of_kernel or 1.0), 0.0)
