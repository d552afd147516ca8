"""What one kernel may become: every structure within a budget, its cost and its error.

Errors are estimated for all ranks of a shape at once (`kfc_jax.decompose.errors_at_ranks`), and
then measured, by decomposing the kernel, for the few structures that come into question. With
weights, the estimate assumes that the second moment is itself a Kronecker product. One measured
rank then rescales the estimates of all ranks.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from kfc_jax.compress.allocation import Front
from kfc_jax.compress.plan import LayerPlan
from kfc_jax.decompose import InputStatistics, decompose_kernel, errors_at_ranks
from kfc_jax.structures import (
    DenseStructure,
    KroneckerStructure,
    LayerStructure,
    layer_kinds,
    read_layer_structure,
)

AUTO = "auto"

Choice = tuple[int, int]  # the index of the shape, and the rank; (-1, 0) leaves the layer
_LEFT: Choice = (-1, 0)

_LARGE = 2**22  # entries of a kernel above which work is saved: fewer shapes, float32
_MAX_UNKNOWNS = 2048  # rank * n_k of a factor that a weighted sweep solves for, in cubic time
_FEW_SWEEPS = 3  # show which shapes are good


@dataclasses.dataclass(frozen=True)
class ShapeAtRanks:
    """A shape at every rank from `min_rank` to `max_rank`.

    Attributes:
      structure: the shape at rank 1.
      unit: what one product costs.
      min_rank: the lowest rank that gives the kernel the matrix rank that is wanted.
      max_rank: the highest rank of fewer parameters and fewer FLOPs than the dense kernel.
    """

    structure: LayerStructure
    unit: int
    min_rank: int
    max_rank: int


def methods() -> tuple[str, ...]:
    """Returns the methods of a plan: ``auto``, and every kind whose ranks can be chosen."""
    kinds = layer_kinds().items()
    return (AUTO, *(name for name, kind in kinds if kind.of_rank_one(4, 4)))


class KernelOptions:
    """The options of one dense layer.

    Attributes:
      path: the path of the layer.
      min_cost: the lowest cost of any option.
    """

    def __init__(
        self,
        path: str,
        kernel: Float[Array | np.ndarray, "inputs features"],
        weights: InputStatistics | None,
        *,
        cost: Callable[[LayerStructure], int],
        method: str,
        structure: str | None,
        min_matrix_rank: float,
        max_shapes: int,
    ) -> None:
        """Lists the options, without computing anything.

        Args:
          path: the path of the layer.
          kernel: the kernel ``(inputs, features)``.
          weights: what the output's error is weighted by; None: the kernel's error counts.
          cost: what a structure costs.
          method: one of `methods()`.
          structure: the text form of the only option, or None.
          min_matrix_rank: the fraction of the full matrix rank that the kernel must be able to
            have.
          max_shapes: the largest number of shapes to try where that is costly.
        """
        self.path, self._kernel, self._weights = path, kernel, weights
        self._size, self._cost, self._max_shapes = kernel.shape, cost, max_shapes
        self._is_large = math.prod(self._size) > _LARGE
        # Estimates that the true errors are at most; to measure such kernels takes minutes.
        self._has_bounds = self._is_large and weights is None
        self._squares: dict[int, Float[np.ndarray, " ranks"]] = {}  # of ranks 1, 2, ...
        self._estimated: set[int] = set()  # shapes whose estimates a measurement can correct
        self._measured: dict[Choice, LayerPlan] = {}
        self._families: list[ShapeAtRanks] = []
        self._fixed = structure
        if structure is None:
            self._measured[_LEFT] = self._fit(DenseStructure(*self._size))
            self._families = list(self._enumerate(method, min_matrix_rank))
        costs = [family.min_rank * family.unit for family in self._families]
        self.min_cost = min([self.cost_of(_LEFT), *costs])

    def cost_of(self, choice: Choice) -> int:
        """Returns what an option costs."""
        if choice == _LEFT:
            return self._cost(read_layer_structure(self._fixed or DenseStructure.kind, *self._size))
        return choice[1] * self._families[choice[0]].unit

    def estimate(self, limit: int | None) -> None:
        """Estimates the error of all options that cost at most ``limit``."""
        if self._fixed is not None:
            self._measured[_LEFT] = self._fit(read_layer_structure(self._fixed, *self._size))
        affordable = {}
        for index, family in enumerate(self._families):
            max_rank = family.max_rank
            if limit is not None:
                max_rank = min(max_rank, limit // family.unit)
            if max_rank >= family.min_rank:
                affordable[index] = max_rank
        dtype = np.float32 if self._is_large else np.float64
        for index in self._sample(list(affordable)) if self._is_large else affordable:
            found = errors_at_ranks(
                self._families[index].structure,
                self._kernel,
                affordable[index],
                statistics=self._weights,
                dtype=dtype,
            )
            self._squares[index] = found.squares
            if not found.are_exact:
                self._estimated.add(index)

    def compare(self, cost: int) -> None:
        """Corrects the estimates of the most promising shapes by a few sweeps, at this cost.

        Does nothing where the estimates are exact already, or a sweep would take too long.
        """
        if self._weights is None or self._is_large:
            return
        at_cost = []
        for index in self._estimated:
            family, squares = self._families[index], self._squares[index]
            rank = min(max(family.min_rank, cost // family.unit), len(squares))
            at_cost.append((float(squares[rank - 1]), index, rank))
        for _, index, rank in sorted(at_cost)[: self._max_shapes]:
            plan = self._fit(self._structure((index, rank)), max_sweeps=_FEW_SWEEPS)
            self._correct((index, rank), plan.error)

    def front(self, *, measured: bool) -> tuple[Front, list[Choice]]:
        """Returns the options' front and what its choices mean.

        All options, or only those of which the error is known, or a bound of it.
        """
        choices, costs, squares = self.known(measured=measured)
        return Front.of(costs, squares), choices

    def known(self, *, measured: bool) -> tuple[list[Choice], list[int], list[float]]:
        """Returns the options, what they cost and their squared errors, as `front` has them."""
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
        return choices, costs, squares

    def measure(self, choice: Choice) -> bool:
        """Finds the true error of an option; returns whether it was unknown."""
        if choice in self._measured or self._has_bounds:
            return False
        self._measured[choice] = self._fit(self._structure(choice))
        self._correct(choice, self._measured[choice].error)
        return True

    def plan(self, choice: Choice) -> LayerPlan:
        """Returns the plan of an option, with its true errors."""
        if choice not in self._measured:
            self._measured[choice] = self._fit(self._structure(choice))
        return self._measured[choice]

    def _enumerate(self, method: str, min_matrix_rank: float) -> Iterator[ShapeAtRanks]:
        """Yields the shapes that are, at the rank they need, smaller and faster than dense."""
        dense = DenseStructure(*self._size)
        # Of two options that are equal, the first is taken: low rank, which multiplies faster.
        kinds = sorted(layer_kinds().values(), key=lambda kind: kind is KroneckerStructure)
        for kind in kinds:
            if method not in (AUTO, kind.kind):
                continue
            for structure in kind.of_rank_one(*self._size):
                max_rank = min(
                    structure.max_rank,
                    (dense.num_parameters - 1) // structure.num_parameters,
                    (dense.flops(1) - 1) // structure.flops(1),
                )
                if self._weights is not None and isinstance(structure, KroneckerStructure):
                    rows = max(n for term in structure.terms for n, _ in term.shapes)
                    max_rank = min(max_rank, _MAX_UNKNOWNS // rows)
                wanted = min_matrix_rank * dense.matrix_rank
                min_rank = max(1, math.ceil(wanted / structure.matrix_rank))
                if max_rank >= min_rank:
                    yield ShapeAtRanks(structure, self._cost(structure), min_rank, max_rank)

    def _sample(self, indices: list[int]) -> list[int]:
        """Returns `max_shapes` shapes: half of them the smallest, the others evenly spread."""
        if len(indices) <= self._max_shapes:
            return indices
        half = (self._max_shapes + 1) // 2
        rest = np.linspace(half, len(indices) - 1, self._max_shapes - half).round().astype(int)
        return indices[:half] + [indices[i] for i in rest]

    def _correct(self, choice: Choice, error: float) -> None:
        """Scales the estimates of a shape so that one of them is the measured error."""
        index, rank = choice
        estimate = self._squares[index][rank - 1]
        if estimate > 1e-12 and error > 0:
            self._squares[index] = self._squares[index] * (error**2 / estimate)

    def _fit(self, structure: LayerStructure, **options: Any) -> LayerPlan:
        """Decomposes the kernel."""
        _, report = decompose_kernel(structure, self._kernel, statistics=self._weights, **options)
        inputs, features = self._size
        errors = report.relative_error, report.output_error
        return LayerPlan(self.path, inputs, features, str(structure), *errors)

    def _structure(self, choice: Choice) -> LayerStructure:
        return self._families[choice[0]].structure.with_rank(choice[1])
