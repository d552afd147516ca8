"""The errors of all ranks of one shape at once, from singular values.

The error of the best approximation of rank ``r`` is what the singular values beyond the ``r``-th
leave (Eckart & Young, 1936); for two factors, those of the rearranged kernel (Van Loan &
Pitsianis, 1993).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from kfc_jax.decompose.blas_threads import one_thread
from kfc_jax.decompose.fit_sum import NOTHING_LEFT, check_kernel, to_float64, to_tensor
from kfc_jax.decompose.input_statistics import InputStatistics, Samples
from kfc_jax.decompose.random_kernel import random_shares
from kfc_jax.decompose.rank_matrices import RankMatrices
from kfc_jax.decompose.spectral_sketch import MIN_SIDE, sketched_energies
from kfc_jax.decompose.thin_matrices import low_rank_squares
from kfc_jax.decompose.truncated_svd import leading_singular
from kfc_jax.structures import (
    KroneckerStructure,
    KroneckerTerm,
    LayerStructure,
    LowRankStructure,
    Shape,
)

_GRAM_SIDE = 2048  # a matrix's shorter side up to which all singular values are found
_SKETCH_SIDE = MIN_SIDE
_MAX_RANK = 256  # of larger ones
_ROUGH = 1e-3  # relative tolerance of the squared errors of larger ones


@dataclasses.dataclass(frozen=True, eq=False)
class Spectrum:
    """The singular values of a rearranged kernel.

    Attributes:
      singular_values: float64 ``(count,)``, falling: all of them, or the leading ones.
      norm: the kernel's Frobenius norm.
    """

    singular_values: Float[np.ndarray, " count"]
    norm: float

    @property
    def relative_errors(self) -> Float[np.ndarray, " count_and_one"]:
        """The smallest relative error of every rank from 0 to ``count``; 0 for a zero kernel."""
        squares = self.singular_values**2
        beyond = max(0.0, self.norm**2 - squares.sum())  # of the values that are not here
        if beyond < NOTHING_LEFT * self.norm**2:
            beyond = 0.0
        tails = np.append(np.cumsum(squares[::-1])[::-1], 0.0) + beyond
        return np.sqrt(tails) / (self.norm or 1.0)


def spectrum(
    kernel: Float[Array | np.ndarray, "inputs features"],
    shape: Shape | str,
    *,
    max_rank: int | None = None,
) -> Spectrum:
    """Returns the singular values that give the error of every rank of one shape at once.

    Example::

      >>> import jax.numpy as jnp
      >>> from kfc_jax import spectrum
      >>> kernel = jnp.kron(jnp.eye(2), jnp.ones((3, 2)))
      >>> kernel += jnp.kron(jnp.ones((2, 2)), jnp.eye(3, 2))
      >>> spectrum(kernel, "2x2*3x2").relative_errors.round(3)[:4].tolist()
      [1.0, 0.206, 0.0, 0.0]

    Args:
      kernel: the dense kernel ``(inputs, features)``, of any floating type.
      shape: the shapes of two factors, or their text form. ``((n, 1), (1, m))`` is low rank. If
        padded, zeros are put around the kernel, so that the errors are upper bounds.
      max_rank: the number of leading singular values. Default: all, which takes minutes for the
        largest kernels.

    Raises:
      ValueError: if the shape does not have two factors or does not fit, or ``max_rank`` is below
        1, or the kernel has numbers that are not finite.
    """
    check_kernel(kernel)
    if isinstance(shape, str):
        terms = KroneckerStructure.parse(shape).terms
        shape = terms[0].shapes if len(terms) == 1 else ()
    if len(shape) != 2:
        raise ValueError(
            f"A spectrum needs one shape of two factors, for example '28x32*28x32'; got {shape}."
        )
    structure = KroneckerStructure((KroneckerTerm(shape),), *np.shape(kernel))
    term = structure.terms[0]
    if max_rank is not None and max_rank < 1:
        raise ValueError(f"Got max_rank={max_rank}: take at least 1, or leave it out for all.")
    matrix = to_tensor(to_float64(kernel), term)
    norm = float(np.linalg.norm(matrix))
    if max_rank is None or max_rank >= term.max_rank:
        return Spectrum(scipy.linalg.svdvals(matrix, overwrite_a=True, check_finite=False), norm)
    return Spectrum(leading_singular(matrix, max_rank)[1], norm)


@dataclasses.dataclass(frozen=True, eq=False)
class RankErrors:
    """The errors of one shape at the ranks 1, 2, ...

    Attributes:
      squares: the squared relative errors ``(ranks,)``, float64, which never rise.
      are_exact: whether they are those of the decompositions; otherwise they are estimates.
      kernel_squares: with statistics, those of the kernel itself, where they are known.
    """

    squares: Float[np.ndarray, " ranks"]
    are_exact: bool
    kernel_squares: Float[np.ndarray, " ranks"] | None = None


@functools.singledispatch
def errors_at_ranks(
    structure: LayerStructure,
    kernel: Float[Array | np.ndarray, "inputs features"],
    max_rank: int,
    *,
    statistics: InputStatistics | Samples | None = None,
    dtype: Any = np.float64,
) -> RankErrors:
    """Estimates the error of a kernel at all ranks of one shape at once, without a decomposition.

    The errors are those of the kernel or, with statistics, of ``x @ kernel``. They are exact for
    low rank, and for shapes of two factors without statistics and padding. With padding they are
    upper bounds. With statistics, the estimate assumes that the second moment is itself a
    Kronecker product. For the largest kernels it is an upper bound, for ranks up to 256 alone.

    Args:
      structure: the shape, at any rank; the function depends on its class. A kind whose ranks a
        planner may choose registers its own: ``@errors_at_ranks.register``.
      kernel: the dense kernel, of any floating type.
      max_rank: the highest rank of interest.
      statistics: what the layer sees, or samples ``(..., inputs)`` of it.
      dtype: the type to compute in, float32 or float64.

    Raises:
      NotImplementedError: if the kind has registered no function.
    """
    raise NotImplementedError(
        f"The errors of {type(structure).__name__} at all ranks are not known: register a function "
        "with @kfc_jax.decompose.errors_at_ranks.register."
    )


@errors_at_ranks.register(LowRankStructure)
@errors_at_ranks.register(KroneckerStructure)
def _of_singular_values(
    structure: LowRankStructure | KroneckerStructure,
    kernel: Any,
    max_rank: int,
    *,
    statistics: InputStatistics | Samples | None = None,
    dtype: Any = np.float64,
) -> RankErrors:
    return ShapeErrors(kernel, statistics, dtype=dtype).all_values(structure, max_rank)


class ShapeErrors:
    """The errors of one kernel at all ranks of many shapes, with what the shapes share found once.

    It takes the kinds whose errors are singular values: low rank, and shapes of two factors.
    """

    def __init__(
        self,
        kernel: Float[Array | np.ndarray, "inputs features"],
        statistics: InputStatistics | Samples | None = None,
        *,
        dtype: Any = np.float32,
    ) -> None:
        """Takes the kernel, what the layer sees, and the type to compute in."""
        self._kernel = kernel
        self._matrices = RankMatrices(kernel, statistics, dtype)

    def all_values(self, structure: LayerStructure, max_rank: int) -> RankErrors:
        """Returns what `errors_at_ranks` does, from all singular values, or the leading ones."""
        with one_thread(structure.dense_parameters):
            moment = self._matrices.moment
            if isinstance(structure, LowRankStructure) and moment is not None:
                squares, own = low_rank_squares(self._kernel, moment)
                return RankErrors(squares[:max_rank], True, own[:max_rank])
            matrix, is_exact = self._matrices.of(structure)
            return RankErrors(_squares(matrix, max_rank), is_exact)

    def random_shares(
        self, structure: KroneckerStructure
    ) -> tuple[Float[np.ndarray, " ranks"], float]:
        """Returns which part of its energy a random kernel keeps at the ranks of a shape, about.

        It is a kernel of this size with the same statistics, which are taken for a Kronecker
        product; the numbers are normal ones from a fixed seed. The second result is how many
        entries of equal weight vary as much by chance.
        """
        (term,) = structure.terms
        rows = (term.shapes[0][0], term.shapes[1][0])
        with one_thread():
            roots = None if self._matrices.moment is None else self._matrices.roots(rows)
            return random_shares(term, roots)

    def sketched(self, structure: LayerStructure, max_rank: int) -> RankErrors:
        """Returns estimates within about a percent, until little is left, in little time.

        Where all singular values are found as fast, the errors are those of `all_values`.
        """
        with one_thread():
            matrix, is_exact = self._matrices.of(structure)
            if min(matrix.shape) <= _SKETCH_SIDE:
                return RankErrors(_squares(matrix, max_rank), is_exact)
            total = self._matrices.energy_of(matrix)
            energies = sketched_energies(matrix, total)
        left = 1 - np.cumsum(energies / (total or 1.0))[:max_rank]
        return RankErrors(np.maximum(left, 0.0), are_exact=False)


def _squares(matrix: Float[np.ndarray, "p q"], max_rank: int) -> Float[np.ndarray, " ranks"]:
    """Returns the squared relative errors of the best approximations of rank 1 to ``max_rank``.

    For large matrices they are slightly too large, and end at a lower rank.
    """
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    max_rank = min(max_rank, len(matrix))
    if len(matrix) <= _GRAM_SIDE:
        energies = scipy.linalg.eigvalsh(matrix @ matrix.T, check_finite=False)[::-1]
        values = np.sqrt(np.maximum(energies, 0))
    else:
        max_rank = min(max_rank, _MAX_RANK)
        _, values, _ = leading_singular(matrix, max_rank, tolerance=_ROUGH)
    # Summed in float64 whatever the type: what the leading values leave is a small difference.
    norm = float(np.sqrt(np.einsum("ij,ij->", matrix, matrix, dtype=np.float64)))
    leading = Spectrum(values.astype(np.float64), norm)
    return leading.relative_errors[1 : max_rank + 1] ** 2
