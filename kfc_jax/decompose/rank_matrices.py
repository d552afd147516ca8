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
from kfc_jax.decompose.second_moment import kronecker_roots, output_root
from kfc_jax.structures import (
    KroneckerStructure,
    KroneckerTerm,
    LayerStructure,
    LowRankStructure,
)

_KEPT_ENTRIES = 2**25
_ROUGH = 1e-3  # of a factor of the moment, where estimates in float32 come of it
_PIECE = 1024  # entries that are summed up in the type of the matrix

Matrix = Float[np.ndarray, "rows columns"]


class RankMatrices:
    """The matrices of one kernel for many shapes; what they share is computed once.

    Attributes:
      moment: the second moment of what the layer sees; None without statistics.
    """

    def __init__(
        self,
        kernel: Float[Array | np.ndarray, "inputs features"],
        statistics: InputStatistics | Samples | None,
        dtype: Any,
        *,
        kept_entries: int = _KEPT_ENTRIES,
    ) -> None:
        """Takes the kernel, what the layer sees, the type of the matrices, and how many are kept.

        Shapes share transformed kernels by the rows of their factors; so many entries are kept.
        """
        self._kernel = np.asarray(kernel, dtype)
        self.moment = second_moment_of(statistics, len(self._kernel))
        self._energy = _energy(self._kernel)
        self._max_kept = max(1, kept_entries // self._kernel.size)
        self._kept: dict[tuple[tuple[int, int], int], Matrix] = {}
        self._roots: dict[tuple[int, int], list[Matrix]] = {}

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
        if self.moment is not None:
            rows = (term.shapes[0][0], term.shapes[1][0])
            matrix = self._weighted(rows, term.features)
        return rearrange(matrix, term.shapes), self.moment is None and not structure.is_padded

    def energy_of(self, matrix: Matrix) -> float:
        """Returns the squared Frobenius norm of one of the matrices."""
        return self._energy if self.moment is None else _energy(matrix)

    @functools.cached_property
    def _output_energies(self) -> Matrix:
        """The kernel as outputs see it: a matrix with the singular values of ``x @ kernel``."""
        if self.moment is None:
            return self._kernel
        dtype = self._kernel.dtype
        kernel = self._kernel.astype(np.float64)
        return output_root(self.moment, kernel).astype(dtype)

    def _padded(self, rows: int, columns: int) -> Matrix:
        if (rows, columns) == self._kernel.shape:
            return self._kernel
        padding = zip((rows, columns), self._kernel.shape, strict=True)
        return np.pad(self._kernel, [(0, wanted - size) for wanted, size in padding])

    def _weighted(self, rows: tuple[int, int], features: int) -> Matrix:
        """Returns the kernel times the roots of the moment, taken for a Kronecker product."""
        if (rows, features) in self._kept:
            return self._kept[rows, features]
        first, second = (root.astype(self._kernel.dtype) for root in self.roots(rows))
        matrix = self._padded(rows[0] * rows[1], features)
        tensor = matrix.reshape(*rows, features)
        tensor = np.matmul(second.T, tensor)
        tensor = first.T @ tensor.reshape(rows[0], -1)
        if len(self._kept) == self._max_kept:
            del self._kept[next(iter(self._kept))]
        self._kept[rows, features] = tensor.reshape(matrix.shape)
        return self._kept[rows, features]

    def roots(self, rows: tuple[int, int]) -> list[Matrix]:
        """Returns the roots of the moment's nearest Kronecker product, in float64."""
        if rows in self._roots:
            return self._roots[rows]
        padding = (0, rows[0] * rows[1] - len(self.weights))
        weights = np.pad(self.weights, (padding, padding)) if padding[1] else self.weights
        shape = KroneckerTerm(((rows[0], 1), (rows[1], 1))).shapes
        tolerance = 1e-8 if weights.dtype == np.float64 else _ROUGH
        if len(self._roots) == self._max_kept:
            del self._roots[next(iter(self._roots))]
        self._roots[rows] = kronecker_roots(weights, shape, tolerance)
        return self._roots[rows]

    @functools.cached_property
    def weights(self) -> Matrix:
        """The second moment with a little of the identity, which counts the kernel's own error."""
        assert self.moment is not None  # who asks for them knows
        return shrunk(self.moment, DEFAULT_SHRINKAGE).astype(self._kernel.dtype)


def _energy(matrix: Matrix) -> float:
    """Returns the squared Frobenius norm, short pieces of it summed up in float64."""
    entries = matrix.ravel()
    whole = len(entries) - len(entries) % _PIECE
    pieces = entries[:whole].reshape(-1, _PIECE)
    rest = float(np.vdot(entries[whole:], entries[whole:]))
    return float(np.einsum("ij,ij->i", pieces, pieces).sum(dtype=np.float64)) + rest
