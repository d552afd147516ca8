"""What one kernel may become: every structure within a budget, its cost and its error.

Errors are estimated for all ranks of a shape at once, from the singular values of the rearranged
kernel, and then measured, by decomposing the kernel, for the few structures that come into
question. Estimates are exact for low rank, and for shapes without weights and padding. With weights
they take the second moment for a Kronecker product (which needs no sweeps), and a measurement at
one rank corrects them at all.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Float

from kfc_jax.compress.allocation import Front
from kfc_jax.compress.plan import DENSE, KFC, LOW_RANK, LayerPlan, read_structure
from kfc_jax.decompose import kronecker_roots, low_rank, nearest_kronecker_sum, rearrange
from kfc_jax.structures import KroneckerStructure, KroneckerTerm, Shape

METHODS = ("auto", KFC, LOW_RANK)

Choice = tuple[int, int]  # index of the shape, rank; (-1, 0) leaves the layer
_LEFT: Choice = (-1, 0)

_LARGE = 2**22  # entries of a kernel, above which work is saved: fewer shapes, float32
_GRAM_SIDE = 1024  # a rearranged kernel's shorter side up to which all singular values are found
_MOST_RANK = 256  # of larger ones
_MOST_UNKNOWNS = 2048  # rank * n_k of a factor that a weighted sweep solves for: cubic time
_OVERSAMPLING = 16
_SHRINKAGE = 0.01  # as in nearest_kronecker_sum
_FEW_SWEEPS = 3  # show which shapes are good


@dataclasses.dataclass(frozen=True)
class ShapeAtRanks:
    """A shape at every rank from `min_rank` to `max_rank`.

    Attributes:
      method: ``kfc`` or ``low_rank``.
      shape: the factors' shapes.
      unit: what one product costs.
      min_rank: the lowest rank that gives the kernel the matrix rank that is wanted.
      max_rank: the highest rank of fewer parameters and fewer FLOPs than the dense kernel.
    """

    method: str
    shape: Shape
    unit: int
    min_rank: int
    max_rank: int


class KernelOptions:
    """The options of one dense layer.

    Attributes:
      path: of the layer.
      least: the least cost of any option.
    """

    def __init__(
        self,
        path: str,
        kernel: Any,
        weights: Float[np.ndarray, "inputs inputs"] | None,
        *,
        cost: Callable[[KroneckerStructure], int],
        method: str,
        structure: str | None,
        min_matrix_rank: float,
        max_shapes: int,
    ) -> None:
        """Lists the options, without computing anything.

        Args:
          path: of the layer.
          kernel: ``(inputs, features)``.
          weights: what the output's error is weighted by; None: the kernel's error counts.
          cost: what a structure costs.
          method: ``auto``, ``kfc`` or ``low_rank``.
          structure: the only option, or None.
          min_matrix_rank: the least fraction of its full rank that the kernel can have.
          max_shapes: how many shapes are looked at where that is costly.
        """
        self.path, self._kernel, self._weights = path, kernel, weights
        self._size, self._cost, self._max_shapes = kernel.shape, cost, max_shapes
        self._is_large = math.prod(self._size) > _LARGE
        # Estimates that the true errors are at most; to measure such kernels takes minutes.
        self._has_bounds = self._is_large and weights is None
        self._squares: dict[int, Float[np.ndarray, " ranks"]] = {}  # of ranks 1, 2, ...
        self._measured: dict[Choice, LayerPlan] = {}
        self._families: list[ShapeAtRanks] = []
        self._fixed = structure
        if structure is None:
            self._measured[_LEFT] = self._plan(DENSE, 0.0)
            self._families = list(self._enumerate(method, min_matrix_rank))
        costs = [family.min_rank * family.unit for family in self._families]
        self.least = min([self.cost_of(_LEFT), *costs])

    def cost_of(self, choice: Choice) -> int:
        """Returns what an option costs."""
        if choice == _LEFT:
            return self._cost(read_structure(self._fixed or DENSE, *self._size)[1])
        return choice[1] * self._families[choice[0]].unit

    def estimate(self, limit: int | None) -> None:
        """Estimates the error of all options that cost at most ``limit``."""
        if self._fixed is not None:
            self._measured[_LEFT] = self._fit(self._fixed)
        affordable = {}
        for index, family in enumerate(self._families):
            most = family.max_rank if limit is None else min(family.max_rank, limit // family.unit)
            if most >= family.min_rank:
                affordable[index] = most
        for index in self._sample(list(affordable)) if self._is_large else affordable:
            self._squares[index] = self._estimates(self._families[index], affordable[index])

    def compare(self, cost: int) -> None:
        """Corrects the estimates of the most promising shapes by a few sweeps, at this cost.

        Does nothing where the estimates are exact already, or a sweep would take too long.
        """
        if self._weights is None or self._is_large:
            return
        at_cost = []
        for index, squares in self._squares.items():
            family = self._families[index]
            rank = min(max(family.min_rank, cost // family.unit), len(squares))
            if family.method == KFC:
                at_cost.append((float(squares[rank - 1]), index, rank))
        for _, index, rank in sorted(at_cost)[: self._max_shapes]:
            plan = self._fit(self._text((index, rank)), max_sweeps=_FEW_SWEEPS)
            self._correct((index, rank), plan.error)

    def front(self, *, measured: bool) -> tuple[Front, list[Choice]]:
        """Returns the options' front and what its choices mean.

        All options, or only those of which the error is known, or a bound of it.
        """
        choices = list(self._measured)
        costs = [self.cost_of(choice) for choice in choices]
        squares = [plan.error**2 for plan in self._measured.values()]
        estimates = self._squares if self._has_bounds or not measured else {}
        for index, values in estimates.items():
            ranks = range(self._families[index].min_rank, len(values) + 1)
            new = [rank for rank in ranks if (index, rank) not in self._measured]
            choices += [(index, rank) for rank in new]
            costs += [rank * self._families[index].unit for rank in new]
            squares += [float(values[rank - 1]) for rank in new]
        return Front.of(costs, squares), choices

    def measure(self, choice: Choice) -> bool:
        """Finds the true error of an option; returns whether it was unknown."""
        if choice in self._measured or self._has_bounds:
            return False
        self._measured[choice] = self._fit(self._text(choice))
        self._correct(choice, self._measured[choice].error)
        return True

    def plan(self, choice: Choice) -> LayerPlan:
        """Returns the plan of an option, with its true errors."""
        if choice not in self._measured:
            self._measured[choice] = self._fit(self._text(choice))
        return self._measured[choice]

    def _enumerate(self, method: str, min_matrix_rank: float) -> Any:
        """Yields the shapes that are, at the rank they need, smaller and faster than dense."""
        inputs, features = self._size
        found = [(LOW_RANK, ((inputs, 1), (1, features)))] if method != KFC else []
        if method != LOW_RANK:
            for structure in KroneckerStructure.candidates(inputs, features):
                (n1, m1), (n2, m2) = shape = structure.terms[0].shapes
                # A column times a row is of low rank, under another name.
                if not (m1 == n2 == 1 or n1 == m2 == 1):
                    found.append((KFC, shape))
        size = inputs * features
        for name, shape in found:
            term = KroneckerTerm(shape)
            unit = self._cost(KroneckerStructure((term,), inputs, features))
            most = min(
                term.max_rank,
                (size - 1) // term.num_parameters,
                (2 * size - 1) // term.factored_flops(1),
            )
            if self._weights is not None and name == KFC:
                most = min(most, _MOST_UNKNOWNS // max(n for n, _ in shape))
            rank_of_one = math.prod(map(min, shape))
            least = max(1, math.ceil(min_matrix_rank * min(self._size) / rank_of_one))
            if most >= least:
                yield ShapeAtRanks(name, shape, unit, least, most)

    def _sample(self, indices: list[int]) -> list[int]:
        """Returns `max_shapes` shapes: half of them the smallest, the others evenly spread."""
        if len(indices) <= self._max_shapes:
            return indices
        half = (self._max_shapes + 1) // 2
        rest = np.linspace(half, len(indices) - 1, self._max_shapes - half).round().astype(int)
        return indices[:half] + [indices[i] for i in rest]

    def _estimates(self, family: ShapeAtRanks, most: int) -> Float[np.ndarray, " ranks"]:
        matrix = np.asarray(self._kernel, np.float32 if self._is_large else np.float64)
        (n1, m1), (n2, m2) = family.shape
        if family.method == LOW_RANK:
            if self._weights is not None:
                values, vectors = scipy.linalg.eigh(self._weights, check_finite=False)
                matrix = np.sqrt(np.maximum(values, 0))[:, None] * (vectors.T @ matrix)
            return _tails(matrix, most)
        padding = ((0, n1 * n2 - matrix.shape[0]), (0, m1 * m2 - matrix.shape[1]))
        matrix = np.pad(matrix, padding) if padding != ((0, 0), (0, 0)) else matrix
        if self._weights is not None:
            weights = self._weights + _SHRINKAGE * np.trace(self._weights) / len(
                self._weights
            ) * np.eye(len(self._weights))
            roots = kronecker_roots(np.pad(weights, (padding[0], padding[0])), family.shape)
            tensor = matrix.reshape(n1, n2, m1 * m2)
            tensor = np.einsum("ia,jb,ijm->abm", *roots, tensor, optimize=True)
            matrix = tensor.reshape(n1 * n2, m1 * m2).astype(matrix.dtype, copy=False)
        return _tails(rearrange(matrix, family.shape), most)

    def _correct(self, choice: Choice, error: float) -> None:
        """Scales the estimates of a shape so that one of them is the measured error."""
        index, rank = choice
        estimate = self._squares[index][rank - 1]
        if estimate > 1e-12 and error > 0:
            self._squares[index] = self._squares[index] * (error**2 / estimate)

    def _fit(self, text: str, **options: Any) -> LayerPlan:
        """Decomposes the kernel."""
        method, structure = read_structure(text, *self._size)
        if method == DENSE:
            return self._plan(DENSE, 0.0)
        if method == LOW_RANK:
            rank = structure.terms[0].rank
            _, report = low_rank(self._kernel, rank, second_moment=self._weights)
        else:
            _, report = nearest_kronecker_sum(
                self._kernel, structure, second_moment=self._weights, **options
            )
        return self._plan(text, report.relative_error, report.output_error)

    def _plan(self, text: str, error: float, output_error: float | None = None) -> LayerPlan:
        if text == DENSE and self._weights is not None:
            output_error = 0.0
        return LayerPlan(self.path, *self._size, text, error, output_error)

    def _text(self, choice: Choice) -> str:
        family, rank = self._families[choice[0]], choice[1]
        if family.method == LOW_RANK:
            return f"rank {rank}"
        return str(KroneckerStructure((KroneckerTerm(family.shape, rank),), *self._size))


def _tails(matrix: Float[np.ndarray, "p q"], most: int) -> Float[np.ndarray, " ranks"]:
    """Returns the squared relative errors of the best approximations of rank 1, 2, ... ``most``.

    Of large matrices, up to a lower rank, and a little above: by a projection on random vectors
    that were multiplied by the matrix five times.
    """
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    total = float(np.vdot(matrix, matrix))
    if total == 0:
        return np.zeros(most)
    if len(matrix) <= _GRAM_SIDE:
        energies = scipy.linalg.eigvalsh(matrix @ matrix.T, check_finite=False)[::-1]
    else:
        most = min(most, _MOST_RANK)
        basis = np.random.default_rng(0).standard_normal(
            (matrix.shape[1], min(most + _OVERSAMPLING, len(matrix))), matrix.dtype
        )
        for _ in range(2):
            basis = np.linalg.qr(matrix.T @ np.linalg.qr(matrix @ basis)[0])[0]
        energies = np.linalg.svd(matrix @ basis, compute_uv=False) ** 2
    tails = 1 - np.cumsum(energies[:most], dtype=np.float64) / total
    return np.maximum(tails, 0.0)
