"""The matrices whose singular values tell the errors of a kernel at every rank of a shape.

For low rank it is the kernel, for a shape of two factors the rearranged kernel. With statistics,
the kernel is transformed first, so that its error becomes that of the output.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from kfc_jax.decompose.fit_sum import DEFAULT_SHRINKAGE, shrunk
from kfc_jax.decompose.input_statistics import InputStatistics, Samples, second_moment_of
from kfc_jax.decompose.rearrangement import rearrange
from kfc_jax.decompose.second_moment import kronecker_roots, moment_root
from kfc_jax.structures import (
    KroneckerStructure,
    KroneckerTerm,
    LayerStructure,
    LowRankStructure,
)

Matrix = Float[np.ndarray, "rows columns"]


class RankMatrices:
    """The matrices of one kernel for many shapes; what they share is computed once."""

    def __init__(
        self,
        kernel: Float[Array | np.ndarray, "inputs features"],
        statistics: InputStatistics | Samples | None,
        dtype: Any,
    ) -> None:
        """Takes the kernel, what the layer sees, and the type of the matrices."""
        self._kernel = np.asarray(kernel, dtype)
        self._moment = second_moment_of(statistics, len(self._kernel))
        self._energy = _energy(self._kernel)
        # The last one alone: shapes come grouped by the rows of their factors.
        self._weighted = functools.lru_cache(maxsize=1)(self._find_weighted)

    def of(self, structure: LayerStructure) -> tuple[Matrix, bool]:
        """Returns the matrix of a structure's shape, and whether its singular values are exact.

        Otherwise they are estimates (with statistics), or give upper bounds (with padding).

        Raises:
          NotImplementedError: if the errors of this kind are no singular values.
        """
        if isinstance(structure, LowRankStructure):
            return self._output_energies, True
        if not isinstance(structure, KroneckerStructure):
            raise NotImplementedError(f"{type(structure).__name__} has no such matrix.")
        (term,) = structure.terms
        matrix = self._padded(term.inputs, term.features)
        if self._moment is not None:
            rows = tuple(n for n, _ in term.shapes)
            matrix = self._weighted(rows, term.features)
        return rearrange(matrix, term.shapes), self._moment is None and not structure.is_padded

    def energy_of(self, matrix: Matrix) -> float:
        """Returns the squared Frobenius norm of one of the matrices."""
        return self._energy if self._moment is None else _energy(matrix)

    @functools.cached_property
    def _output_energies(self) -> Matrix:
        """The kernel as outputs see it: a matrix with the singular values of ``x @ kernel``."""
        if self._moment is None:
            return self._kernel
        dtype = self._kernel.dtype
        return moment_root(self._moment).astype(dtype) @ self._kernel

    def _padded(self, rows: int, columns: int) -> Matrix:
        if (rows, columns) == self._kernel.shape:
            return self._kernel
        padding = zip((rows, columns), self._kernel.shape, strict=True)
        return np.pad(self._kernel, [(0, wanted - size) for wanted, size in padding])

    def _find_weighted(self, rows: tuple[int, int], features: int) -> Matrix:
        """Returns the kernel times the roots of the moment, taken for a Kronecker product."""
        first, second = self._roots(rows)
        matrix = self._padded(rows[0] * rows[1], features)
        tensor = matrix.reshape(*rows, features)
        tensor = np.matmul(second.T, tensor)
        tensor = first.T @ tensor.reshape(rows[0], -1)
        return tensor.reshape(matrix.shape)

    def _roots(self, rows: tuple[int, int]) -> list[Matrix]:
        moment, size = self._moment, rows[0] * rows[1]
        assert moment is not None  # as there are weights
        padding = (0, size - len(moment))
        weights = np.pad(shrunk(moment, DEFAULT_SHRINKAGE), (padding, padding))
        shape = KroneckerTerm(((rows[0], 1), (rows[1], 1))).shapes
        return [root.astype(self._kernel.dtype) for root in kronecker_roots(weights, shape)]


def _energy(matrix: Matrix) -> float:
    """Returns the squared Frobenius norm, summed in float64 whatever the type."""
    rows = (np.vdot(row, row) for row in matrix)
    return float(sum(map(float, rows)))
