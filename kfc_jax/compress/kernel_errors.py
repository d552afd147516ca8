"""The errors of one kernel, found when they are asked for, each of them once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import numpy as np
from jaxtyping import Array, Float

from kfc_jax.compress.known_errors import Known
from kfc_jax.decompose import (
    InputStatistics,
    RankErrors,
    ShapeErrors,
    WeightedFits,
    decompose_kernel,
    errors_at_ranks,
)
from kfc_jax.structures import KroneckerStructure, LayerStructure, LowRankStructure

Errors = tuple[float, float | None]
"""The relative error of a kernel, and of its output; None without statistics."""

_ALL_VALUES = 1024  # a kernel's shorter side up to which all of its own singular values are found
_LITTLE = 1e-2  # a squared error below which float32 is not exact enough


def fits_shortly(structure: LayerStructure) -> TypeGuard[KroneckerStructure]:
    """Whether a structure is one that `WeightedFits` takes."""
    return isinstance(structure, KroneckerStructure) and not structure.is_padded


def _has_values(structure: LayerStructure) -> TypeGuard[KroneckerStructure | LowRankStructure]:
    """Whether `ShapeErrors` takes a structure."""
    return isinstance(structure, KroneckerStructure | LowRankStructure)


class KernelErrors:
    """The errors of one kernel.

    Attributes:
      is_weighted: whether the output's error counts.
      keeps: whether matrices stay in memory from question to question; it is for the caller to set.
    """

    def __init__(
        self,
        kernel: Float[Array | np.ndarray, "inputs features"],
        weights: Callable[[], InputStatistics] | None,
        dtype: Any,
        known: Known,
        name: str,
    ) -> None:
        """Computes nothing yet.

        Args:
          kernel: the kernel ``(inputs, features)``.
          weights: returns what the output's error is weighted by; None: the kernel's error counts.
            It is asked again rather than that large matrices of many layers are kept.
          dtype: the type in which errors are estimated.
          known: what is known already of kernels, and to which what is found is added.
          name: the name of this kernel in it.
        """
        self._kernel, self._find_weights, self._dtype = kernel, weights, dtype
        self._known, self._name = known, name
        self.is_weighted, self.keeps = weights is not None, False
        self._seen: InputStatistics | None = None
        self._shapes: ShapeErrors | None = None
        self._fits: WeightedFits | None = None

    def all_values(self, structure: LayerStructure, max_rank: int) -> RankErrors:
        """Returns the errors of the ranks of a shape, as `errors_at_ranks` does."""
        key = f"{self._name} values {structure}"
        found = self._known.get(key)
        if found is None or found[0] < max_rank:
            errors = self._all_values(structure, max_rank)
            found = self._known[key] = _as_array(errors, max_rank)
        return _from_array(found, max_rank)

    def sketched(self, structure: LayerStructure, max_rank: int) -> RankErrors:
        """Returns estimates of these errors; of low rank, the errors themselves if that is fast."""
        if not _has_values(structure) or (
            isinstance(structure, LowRankStructure)
            and (self.is_weighted or min(structure.inputs, structure.features) <= _ALL_VALUES)
        ):
            return self.all_values(structure, max_rank)
        key = f"{self._name} sketch {structure}"
        if key not in self._known:
            errors = self._shape_errors().sketched(structure, structure.max_rank)
            self._known[key] = _as_array(errors, structure.max_rank)
        return _from_array(self._known[key], max_rank)

    def random_shares(
        self, structure: KroneckerStructure
    ) -> tuple[Float[np.ndarray, " ranks"], float]:
        """Returns what `ShapeErrors.random_shares` does."""
        key = f"{self._name} random {structure}"
        if key not in self._known:
            shares, count = self._shape_errors().random_shares(structure)
            self._known[key] = np.append(count, shares)
        count, *shares = self._known[key]
        return np.array(shares), float(count)

    def after_sweeps(
        self, structure: LayerStructure, sweeps: int, tolerance: float = 0.0
    ) -> Errors:
        """Returns what a few sweeps reach."""
        fits = self._short_fits() if fits_shortly(structure) else None
        key = f"{self._name} {sweeps} sweeps to {tolerance} {structure}"
        if fits is not None and fits_shortly(structure):
            if key not in self._known:
                self._known[key] = np.array(fits().errors(structure, sweeps, tolerance))
            of_kernel, of_output = map(float, self._known[key])
            if of_output > _LITTLE:
                return of_kernel, of_output
        return self.decomposed(structure, sweeps)

    def decomposed(self, structure: LayerStructure, max_sweeps: int | None = None) -> Errors:
        """Returns what a decomposition reaches, in full or after so many sweeps."""
        key = f"{self._name} decomposed {max_sweeps} {structure}"
        if key not in self._known:
            options = {} if max_sweeps is None else {"max_sweeps": max_sweeps}
            _, report = decompose_kernel(
                structure, self._kernel, statistics=self._weights(), **options
            )
            errors = report.relative_error, report.output_error
            self._known[key] = np.array([e for e in errors if e is not None])
        of_kernel, *of_output = self._known[key].tolist()
        return of_kernel, of_output[0] if of_output else None

    @property
    def kept_bytes(self) -> int:
        """About how much memory it takes to keep what is found of the kernel and its weights."""
        rows, columns = self._kernel.shape
        return 16 * rows**2 + 8 * rows * columns if self.is_weighted else 0

    def release(self) -> None:
        """Forgets what a later question finds again, unless it is to be kept."""
        self._shapes = None
        if not self.keeps:
            self._fits = None

    def _all_values(self, structure: LayerStructure, max_rank: int) -> RankErrors:
        if _has_values(structure):
            return self._shape_errors().all_values(structure, max_rank)
        return errors_at_ranks(structure, self._kernel, max_rank, statistics=self._weights())

    def _shape_errors(self) -> ShapeErrors:
        if self._shapes is None:
            self._shapes = ShapeErrors(self._kernel, self._weights(), dtype=self._dtype)
        return self._shapes

    def _short_fits(self) -> Callable[[], WeightedFits] | None:
        """Returns what makes the short fits; None without weights."""

        def make() -> WeightedFits:
            if self._fits is None:
                weights = self._weights()
                assert weights is not None  # as it is weighted
                self._fits = WeightedFits(self._kernel, weights, dtype=self._dtype)
            return self._fits

        return make if self.is_weighted else None

    def _weights(self) -> InputStatistics | None:
        """Returns what the output's error is weighted by; None: the kernel's error counts."""
        if self._seen is not None or self._find_weights is None:
            return self._seen
        found = self._find_weights()
        if self.keeps:
            self._seen = found
        return found


def share_at(shares: Sequence[float] | Float[np.ndarray, " ranks"], rank: float) -> float:
    """Returns what is kept at a rank, from what is at the ranks 1, 2, ...; between, in a line."""
    return float(np.interp(rank, np.arange(len(shares) + 1), [0.0, *shares]))


def _as_array(errors: RankErrors, max_rank: int) -> Float[np.ndarray, " n"]:
    """Returns errors as numbers: for which rank they were asked, exact or not, and their parts."""
    own = errors.kernel_squares
    head = np.array([max_rank, errors.are_exact, own is not None], np.float64)
    return np.concatenate([head, errors.squares, [] if own is None else own])


def _from_array(values: Float[np.ndarray, " n"], max_rank: int) -> RankErrors:
    _, is_exact, has_own = values[:3]
    squares, own = values[3:], None
    if has_own:
        squares, own = np.split(squares, 2)
        own = own[:max_rank]
    return RankErrors(squares[:max_rank], bool(is_exact), own)
