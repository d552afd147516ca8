"""Short fits of one kernel to many shapes with weights, for the errors alone.

They begin and go on as those of `nearest_kronecker_sum`, but what the shapes share is computed
once, no start without weights is tried, and no factors are returned.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from kfc_jax.decompose.blas_threads import one_thread
from kfc_jax.decompose.fit_sum import DEFAULT_SHRINKAGE, ratio, to_float64
from kfc_jax.decompose.fit_term import alternate_on_gradient, error_reduction, unweighted_vectors
from kfc_jax.decompose.input_statistics import InputStatistics
from kfc_jax.decompose.rank_matrices import RankMatrices
from kfc_jax.decompose.rearrangement import Vectors, add_product, rearrange
from kfc_jax.decompose.truncated_svd import leading_singular
from kfc_jax.structures import KroneckerStructure

_GRAM_SIDE = 1024  # up to it, eigenvectors of the inner products are the fastest start
_KEPT_ENTRIES = 2**20  # of transformed kernels
_ROUGH = 1e-3  # relative tolerance of the squared error of larger starts


class WeightedFits:
    """The errors that a few sweeps reach, for one kernel and what its layer sees."""

    def __init__(
        self,
        kernel: Float[Array | np.ndarray, "inputs features"],
        statistics: InputStatistics,
        *,
        dtype: Any = np.float32,
    ) -> None:
        """Takes the kernel, what the layer sees, and the type to compute in."""
        exact, moment = to_float64(kernel), statistics.second_moment
        self._extra = DEFAULT_SHRINKAGE * np.trace(moment) / len(moment)
        pull = moment @ exact + self._extra * exact
        self._energy = float(np.vdot(exact, exact))
        self._seen = float(np.vdot(exact, pull))
        self._kernel, self._pull = np.asarray(kernel, dtype), pull.astype(dtype)
        self._dtype = dtype
        self._matrices = RankMatrices(kernel, statistics, dtype, kept_entries=_KEPT_ENTRIES)

    def errors(
        self, structure: KroneckerStructure, sweeps: int, tolerance: float = 0.0
    ) -> tuple[float, float]:
        """Returns the relative errors of the kernel and of its output after some sweeps.

        Args:
          structure: one term of two factors, without padding.
          sweeps: how often every factor is improved.
          tolerance: the last sweep is one that lowers the squared error by less than this part.
        """
        with one_thread(self._kernel.size):
            return self._errors(structure, sweeps, tolerance)

    def _errors(
        self, structure: KroneckerStructure, sweeps: int, tolerance: float
    ) -> tuple[float, float]:
        (term,) = structure.terms
        vectors = self._start(structure)
        gradient = rearrange(self._pull, term.shapes)
        reduction = -math.inf
        if sweeps == 0:
            reduction = error_reduction(gradient, vectors, term.shapes, self._matrices.weights)
        for _ in range(sweeps):
            before = reduction
            vectors, reduction = alternate_on_gradient(
                gradient, vectors, term.shapes, self._matrices.weights
            )
            if reduction - before < tolerance * (self._seen - reduction):
                break
        rest = rearrange(self._kernel, term.shapes)
        rest = np.array(rest) if np.shares_memory(rest, self._kernel) else rest
        add_product(rest, vectors, -1)
        left = float(np.vdot(rest, rest))
        # What the sweeps minimise is the output's error and a little of the kernel's.
        of_output = max(0.0, self._seen - reduction - self._extra * left)
        total = self._seen - self._extra * self._energy
        return (
            ratio(math.sqrt(left), math.sqrt(self._energy)),
            math.sqrt(of_output / total) if total > 0 else 0.0,
        )

    def _start(self, structure: KroneckerStructure) -> Vectors:
        """Returns the optimum for a moment that is a Kronecker product."""
        (term,) = structure.terms
        matrix, _ = self._matrices.of(structure)
        roots = self._matrices.roots((term.shapes[0][0], term.shapes[1][0]))
        if min(matrix.shape) <= _GRAM_SIDE:
            wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
            first = len(wide) - term.rank
            _, left = scipy.linalg.eigh(
                wide @ wide.T, subset_by_index=(first, len(wide) - 1), check_finite=False
            )
            pair = [left.T, left.T @ wide]
            vectors = pair if wide is matrix else pair[::-1]
        else:
            u, s, vh = leading_singular(matrix, term.rank, tolerance=_ROUGH)
            vectors = [u.T * s[:, None], vh]
        vectors = unweighted_vectors(vectors, roots, term.shapes)
        return [vector.astype(self._dtype) for vector in vectors]
