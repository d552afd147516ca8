"""What one kernel may become: every structure within a budget, its cost and its error.

Errors are estimated for all ranks of a shape at once (`kfc_jax.decompose.errors_at_ranks`), and
then measured, by decomposing the kernel or by all its singular values, for the few structures that
come into question. With weights, the estimate assumes that the second moment is itself a Kronecker
product. One measured rank then rescales the estimates of all ranks.

Small kernels are estimated at every shape. For others a search finds which shapes to estimate, and
the estimates are sketches (`kfc_jax.decompose.ShapeErrors`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from jaxtyping import Array, Float, Int

from kfc_jax.compress.plan import LayerPlan
from kfc_jax.compress.progress import Progress
from kfc_jax.compress.shape_search import search, undominated
from kfc_jax.compress.shapes_at_ranks import ShapeAtRanks, shapes_at_ranks
from kfc_jax.decompose import (
    InputStatistics,
    RankErrors,
    ShapeErrors,
    WeightedFits,
    decompose_kernel,
    errors_at_ranks,
)
from kfc_jax.structures import (
    DenseStructure,
    KroneckerStructure,
    LayerStructure,
    LowRankStructure,
    layer_kinds,
    read_layer_structure,
)

Known = tuple[
    Int[np.ndarray, "options 2"], Int[np.ndarray, " options"], Float[np.ndarray, " options"]
]
Known = tuple[
    Int[np.ndarray, "options 2"], Int[np.ndarray, " options"], Float[np.ndarray, " options"]
]
Choice = tuple[int, int]  # the index of the shape, and the rank; (-1, 0) leaves the layer
LEFT: Choice = (-1, 0)

_SMALL = 2**16  # entries of a kernel up to which every shape is tried, in float64
_LARGE = 2**22  # entries above which errors stay bounds until the choice is made
_SKETCHED = 2**27  # entries that are sketched of one kernel: they take about a second
_LITTLE = 1e-2  # a squared error below which float32 is not exact enough
_LEVELS = (0.5, 1.0, 2.0)  # times the likely cost: where shapes of a searched kernel are compared
_FEW_SWEEPS = 3  # show which shapes are good
_LAST_SWEEPS, _LAST_TOLERANCE = 20, 2e-3  # of the choice, where not all sweeps are done
_NEAR = 0.2  # of a rank: where the error of one tells that of another
_COMPARING = 2**32  # of the work of sweeps for one kernel, after which few shapes are compared
_LEAST_COMPARED = 4


def _fits_shortly(structure: LayerStructure) -> TypeGuard[KroneckerStructure]:
    """Whether a structure is one that `WeightedFits` takes."""
    return isinstance(structure, KroneckerStructure) and not structure.is_padded


class KernelOptions:
    """The options of one dense layer.

    Attributes:
      path: the path of the layer.
      size: the number of entries of the kernel.
      min_cost: the lowest cost of any option.
      keeps: whether matrices stay in memory from question to question; it is for the caller to set.
    """

    def __init__(
        self,
        path: str,
        kernel: Float[Array | np.ndarray, "inputs features"],
        weights: Callable[[], InputStatistics] | None,
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
          weights: returns what the output's error is weighted by; None: the kernel's error counts.
            It is asked again rather than that large matrices of many layers are kept.
          cost: what a structure costs.
          method: one of `methods()`.
          structure: the text form of the only option, or None.
          min_matrix_rank: the fraction of the full matrix rank that the kernel must be able to
            have.
          max_shapes: the largest number of shapes to try where that is costly.
        """
        self.path, self._kernel, self._find_weights = path, kernel, weights
        self._weighted = weights is not None
        self._size: tuple[int, int] = (kernel.shape[0], kernel.shape[1])
        self._cost, self._max_shapes = cost, max_shapes
        self.size = math.prod(self._size)
        self._is_small, self._is_large = self.size <= _SMALL, self.size > _LARGE
        # Estimates that the true errors are at most; to measure such kernels takes minutes.
        self._has_bounds = self._is_large and not self._weighted
        self._squares: dict[int, Float[np.ndarray, " ranks"]] = {}  # of ranks 1, 2, ...
        self._estimated: set[int] = set()  # shapes whose estimates a measurement can correct
        self._known: set[int] = set()  # shapes whose errors at all ranks are true ones
        self.keeps = False
        self._seen: InputStatistics | None = None
        self._fits: WeightedFits | None = None
        self._measured: dict[Choice, LayerPlan] = {}
        self._families: Sequence[ShapeAtRanks] = ()
        self._fixed = structure
        if structure is None:
            nothing_lost = (0.0, 0.0 if self._weighted else None)
            self._measured[LEFT] = LayerPlan(path, *self._size, DenseStructure.kind, *nothing_lost)
            wanted = (self._size, method, cost, min_matrix_rank, self._weighted)
            self._families = shapes_at_ranks(*wanted, tuple(layer_kinds().values()))
        costs = [family.min_rank * family.unit for family in self._families]
        self.min_cost = min([self.cost_of(LEFT), *costs])

    def cost_of(self, choice: Choice) -> int:
        """Returns what an option costs."""
        if choice == LEFT:
            return self._cost(read_layer_structure(self._fixed or DenseStructure.kind, *self._size))
        return choice[1] * self._families[choice[0]].unit

    def estimate(self, limit: int | None, likely: int, progress: Progress, share: float) -> None:
        """Estimates the error of options that cost at most ``limit``.

        Args:
          limit: the highest cost; None: any.
          likely: about what the kernel will cost; where not all shapes are tried, those that are
            good at about this cost are.
          progress: what is told how many shapes were tried of the largest number.
          share: the share of the time after which no more are tried than is necessary.
        """
        if self._fixed is not None:
            self._measured[LEFT] = self._fit(read_layer_structure(self._fixed, *self._size))
        affordable = {}
        for index, family in enumerate(self._families):
            max_rank = family.max_rank
            if limit is not None:
                max_rank = min(max_rank, limit // family.unit)
            if max_rank >= family.min_rank:
                affordable[index] = max_rank
        if self._is_small or self._is_large:
            dtype = np.float32 if self._is_large else np.float64
            found = ShapeErrors(self._kernel, self._weights(), dtype=dtype)
            for index in self._sample(list(affordable)) if self._is_large else affordable:
                structure = self._families[index].structure
                if isinstance(structure, (KroneckerStructure, LowRankStructure)):
                    self._keep(index, found.all_values(structure, affordable[index]))
                else:
                    self._keep(index, self._own_errors(index, affordable[index]))
        elif affordable:
            self._search(affordable, likely, lambda: progress.is_over(share))
        progress.advance(self.size)

    def _search(
        self, affordable: Mapping[int, int], likely: int, is_over: Callable[[], bool]
    ) -> None:
        """Estimates the errors of shapes that a search finds, and of all other kinds' shapes."""
        found = ShapeErrors(self._kernel, self._weights())

        def estimate(index: int) -> Float[np.ndarray, " levels"]:
            family, max_rank = self._families[index], affordable[index]
            self._keep(index, found.sketched(family.structure, max_rank))
            return self._squares_at([level * likely for level in _LEVELS], index)

        kronecker, shapes = [], []
        for index in affordable:
            structure = self._families[index].structure
            if isinstance(structure, KroneckerStructure):
                kronecker.append(index)
                shapes.append(structure.terms[0].shapes)
            elif isinstance(structure, LowRankStructure):
                estimate(index)
            else:
                self._keep(index, self._own_errors(index, affordable[index]))
        if kronecker:
            units = np.array([self._families[i].unit for i in kronecker])
            ranks = np.array([affordable[i] for i in kronecker])
            firsts, seconds = np.array(shapes).transpose(1, 0, 2)
            kept = undominated(firsts, seconds, units, ranks)
            tries = max(self._max_shapes, _SKETCHED // self.size)
            search(firsts[kept], lambda i: estimate(kronecker[kept[i]]), tries, is_over)

    def _own_errors(self, index: int, max_rank: int) -> RankErrors:
        """Returns the errors of a shape of a kind that has registered how they are found."""
        structure, seen = self._families[index].structure, self._weights()
        return errors_at_ranks(structure, self._kernel, max_rank, statistics=seen)

    def _squares_at(self, costs: Sequence[float], index: int) -> Float[np.ndarray, " costs"]:
        """Returns the squared errors of a shape at costs, infinite where it has no rank so low."""
        family, squares = self._families[index], self._squares[index]
        ranks = np.minimum(np.asarray(costs) // family.unit, len(squares)).astype(int)
        return np.where(ranks >= family.min_rank, squares[ranks - 1], math.inf)

    def _keep(self, index: int, found: RankErrors) -> None:
        self._squares[index] = found.squares
        if not found.are_exact:
            self._estimated.add(index)

    def compare(self, cost: int, progress: Progress) -> None:
        """Corrects the estimates of the most promising shapes by a few sweeps, at this cost.

        Estimates of all other shapes are corrected as those were in the mean. Does nothing where
        the estimates are exact already, or a sweep would take too long.
        """
        if not self._weighted or self._is_large:
            return
        at_cost = []
        for index in self._estimated:
            family, squares = self._families[index], self._squares[index]
            rank = min(max(family.min_rank, cost // family.unit), len(squares))
            at_cost.append((float(squares[rank - 1]), index, rank))
        work, ratios = 0.0, {}
        for count, (square, index, rank) in enumerate(sorted(at_cost)[: self._max_shapes]):
            if count >= _LEAST_COMPARED and (work > _COMPARING or progress.is_over()):
                break
            work += (rank * self._size[0]) ** 2 + self.size * rank
            plan = self._short_fit(self._structure((index, rank)))
            self._correct((index, rank), plan.error)
            ratios[index] = plan.error**2 / max(square, 1e-12)
        if ratios:
            self._scale(self._estimated - ratios.keys(), float(np.median(list(ratios.values()))))

    def known(self, *, measured: bool, nearly: bool) -> Known:
        """Returns the options ``(shape, rank)``, their costs and their squared errors.

        All of them, or only those of which the error is known, or a bound of it; with ``nearly``
        also those next to them.
        """
        measured_at: dict[int, list[int]] = {}
        for index, rank in self._measured:
            measured_at.setdefault(index, []).append(rank)
        choices = [np.array(list(self._measured), int).reshape(-1, 2)]
        costs = [np.array([self.cost_of(choice) for choice in self._measured], int)]
        squares = [np.array([plan.error**2 for plan in self._measured.values()])]
        for index, values in self._squares.items():
            family, at = self._families[index], measured_at.get(index, [])
            ranks = np.arange(family.min_rank, len(values) + 1)
            if measured and not self._has_bounds and index not in self._known:
                if not (nearly and at and self._fits_in_short((index, at[0]))):
                    continue
                distances = np.abs(ranks[:, None] - np.array(at)).min(1)
                ranks = ranks[distances <= _NEAR * ranks]
            ranks = ranks[~np.isin(ranks, at)]
            choices.append(np.stack([np.full(len(ranks), index), ranks], axis=1))
            costs.append(ranks * family.unit)
            squares.append(values[ranks - 1])
        return np.concatenate(choices), np.concatenate(costs), np.concatenate(squares)

    def measure(self, choice: Choice, *, nearly: bool) -> bool:
        """Finds the true error of an option; returns whether it was unknown.

        With ``nearly``, one that takes long is known where that of a rank next to it is.
        """
        index = choice[0]
        if choice in self._measured or self._has_bounds or index in self._known:
            return False
        if self._fits_in_short(choice):
            ranks = [rank for known, rank in self._measured if known == index]
            if nearly and any(abs(rank - choice[1]) <= _NEAR * choice[1] for rank in ranks):
                return False
            self._measured[choice] = self._short_fit(self._structure(choice))
            ratio = self._correct(choice, self._measured[choice].error)
            # By so much the estimates of the others are off at about this cost, too.
            self._scale(self._estimated - {known for known, _ in self._measured}, ratio)
            return True
        if self._has_values(index):
            # All ranks take as long as one: others of the same shape may be chosen next.
            structure = self._families[index].structure
            errors = ShapeErrors(self._kernel, self._weights())
            values = errors.all_values(structure, len(self._squares[index]))
            self._squares[index] = values.squares
            self._known.add(index)
            return True
        self._measured[choice] = self._fit(self._structure(choice))
        self._correct(choice, self._measured[choice].error)
        return True

    def plan(self, choice: Choice) -> LayerPlan:
        """Returns the plan of an option, with its true errors."""
        index, rank = choice
        is_short = self._fits_in_short(choice)
        if choice in self._measured and not is_short:
            return self._measured[choice]
        if is_short:
            return self._short_fit(self._structure(choice), _LAST_SWEEPS, _LAST_TOLERANCE)
        is_true = index in self._known and self._squares[index][rank - 1] > _LITTLE
        if is_true and not self._weighted:
            error = math.sqrt(self._squares[index][rank - 1])
            return LayerPlan(self.path, *self._size, str(self._structure(choice)), error)
        return self._measured.setdefault(choice, self._fit(self._structure(choice)))

    def _has_values(self, index: int) -> bool:
        """Whether the true errors of a shape are singular values, which are found soon."""
        structure = self._families[index].structure
        if self._is_small or self._is_large:
            return False
        if isinstance(structure, KroneckerStructure):
            return not self._weighted and not structure.is_padded
        return isinstance(structure, LowRankStructure)

    def _fits_in_short(self, choice: Choice) -> bool:
        """Whether an option is measured by a few sweeps, as a full decomposition takes too long."""
        if choice == LEFT or self._is_small or self._is_large or not self._weighted:
            return False
        return _fits_shortly(self._structure(choice))

    def _short_fit(
        self, structure: LayerStructure, sweeps: int = _FEW_SWEEPS, tolerance: float = 0.0
    ) -> LayerPlan:
        """Fits the kernel by a few sweeps."""
        fits = self._short_fits() if _fits_shortly(structure) else None
        if fits is not None and _fits_shortly(structure):
            errors = fits.errors(structure, sweeps, tolerance)
            if errors[1] > _LITTLE:
                return LayerPlan(self.path, *self._size, str(structure), *errors)
        return self._fit(structure, max_sweeps=sweeps)

    def _short_fits(self) -> WeightedFits | None:
        if self._fits is None and (weights := self._weights()) is not None:
            dtype = np.float64 if self._is_small else np.float32
            self._fits = WeightedFits(self._kernel, weights, dtype=dtype)
        return self._fits

    def _weights(self) -> InputStatistics | None:
        """Returns what the output's error is weighted by; None: the kernel's error counts."""
        if self._seen is not None or self._find_weights is None:
            return self._seen
        found = self._find_weights()
        if self.keeps:
            self._seen = found
        return found

    @property
    def kept_bytes(self) -> int:
        """About how much memory it takes to keep what is found of the kernel and its weights."""
        return 16 * self._size[0] ** 2 + 8 * self.size if self._weighted else 0

    def release(self) -> None:
        """Forgets what a later question finds again, unless it is to be kept."""
        if not self.keeps:
            self._fits = None

    def _sample(self, indices: list[int]) -> list[int]:
        """Returns `max_shapes` shapes: half of them the smallest, the others evenly spread."""
        if len(indices) <= self._max_shapes:
            return indices
        half = (self._max_shapes + 1) // 2
        rest = np.linspace(half, len(indices) - 1, self._max_shapes - half).round().astype(int)
        return indices[:half] + [indices[i] for i in rest]

    def _correct(self, choice: Choice, error: float) -> float:
        """Scales a shape's estimates so that one is the measured error; returns the factor."""
        index, rank = choice
        estimate = self._squares[index][rank - 1]
        if estimate <= 1e-12 or error <= 0:
            return 1.0
        factor = float(error**2 / estimate)
        self._squares[index] = self._squares[index] * factor
        return factor

    def _scale(self, indices: Iterable[int], factor: float) -> None:
        """Scales the estimates of shapes of two factors."""
        for index in indices:
            if isinstance(self._families[index].structure, KroneckerStructure):
                self._squares[index] = self._squares[index] * factor

    def _fit(self, structure: LayerStructure, **options: Any) -> LayerPlan:
        """Decomposes the kernel."""
        _, report = decompose_kernel(structure, self._kernel, statistics=self._weights(), **options)
        inputs, features = self._size
        errors = report.relative_error, report.output_error
        return LayerPlan(self.path, inputs, features, str(structure), *errors)

    def _structure(self, choice: Choice) -> LayerStructure:
        return self._families[choice[0]].structure.with_rank(choice[1])
