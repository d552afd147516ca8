"""What one kernel may become: every structure within a budget, its cost and its error.

Errors are estimated for all ranks of a shape at once (`kfc_jax.decompose.errors_at_ranks`), and
then measured, by decomposing the kernel or by all its singular values, for the few structures that
come into question. With weights, the estimate assumes that the second moment is itself a Kronecker
product. One measured rank then rescales the estimates of all ranks.

Small kernels are estimated at every shape. For others a search finds which shapes to estimate, and
the estimates are sketches (`kfc_jax.decompose.ShapeErrors`). How an error is found is for
`KernelErrors` to know.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Array, Float, Int

from kfc_jax.compress.kernel_energies import KernelEnergies
from kfc_jax.compress.kernel_errors import Errors, KernelErrors, fits_shortly, share_at
from kfc_jax.compress.known_errors import Known
from kfc_jax.compress.plan import LayerPlan
from kfc_jax.compress.shape_search import search, undominated
from kfc_jax.compress.shapes_at_ranks import ShapeAtRanks, shapes_at_ranks
from kfc_jax.decompose import InputStatistics, RankErrors
from kfc_jax.structures import (
    DenseStructure,
    KroneckerStructure,
    LayerStructure,
    LowRankStructure,
    layer_kinds,
    read_layer_structure,
)

Listed = tuple[
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
_ENOUGH = 4  # shapes compared, before others count as hopeless
_HOPELESS = 4.0  # times the best true squared error: estimates above it are not compared


class KernelOptions:
    """The options of one dense layer.

    Attributes:
      path: the path of the layer.
      size: the number of entries of the kernel.
      min_cost: the lowest cost of any option.
      errors: what finds the errors.
    """

    def __init__(
        self,
        path: str,
        kernel: Float[Array | np.ndarray, "inputs features"],
        weights: Callable[[], InputStatistics] | None,
        name: str,
        *,
        cost: Callable[[LayerStructure], int],
        method: str,
        structure: str | None,
        min_matrix_rank: float,
        max_shapes: int,
        known: Known,
    ) -> None:
        """Lists the options, without computing anything.

        Args:
          path: the path of the layer.
          kernel: the kernel ``(inputs, features)``.
          weights: returns what the output's error is weighted by; None: the kernel's error counts.
          name: the name of this kernel in ``known``.
          cost: what a structure costs.
          method: one of `methods()`.
          structure: the text form of the only option, or None.
          min_matrix_rank: the fraction of the full matrix rank that the kernel must be able to
            have.
          max_shapes: the largest number of shapes to try where that is costly.
          known: the errors that are known, to which what is found is added.
        """
        self.path = path
        self._weighted = weights is not None
        self._size: tuple[int, int] = (kernel.shape[0], kernel.shape[1])
        self._cost, self._max_shapes = cost, max_shapes
        self.size = math.prod(self._size)
        self._is_small, self._is_large = self.size <= _SMALL, self.size > _LARGE
        dtype = np.float64 if self._is_small and not self._is_large else np.float32
        self.errors = KernelErrors(kernel, weights, dtype, known, name)
        # Estimates that the true errors are at most; to measure such kernels takes minutes.
        self._has_bounds = self._is_large and not self._weighted
        self._squares: dict[int, Float[np.ndarray, " ranks"]] = {}  # of ranks 1, 2, ...
        self._estimated: set[int] = set()  # shapes whose estimates a measurement can correct
        self._known: dict[int, RankErrors] = {}  # shapes whose errors at all ranks are true ones
        self._factors: dict[int, float] = {}  # by which estimates were corrected
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

    @property
    def is_too_small(self) -> bool:
        """Whether there is no structure that makes the kernel smaller and faster."""
        return self._fixed is None and not self._families

    def estimate(self, limit: int | None, likely: int, is_over: Callable[[], bool]) -> None:
        """Estimates the error of options that cost at most ``limit``.

        Args:
          limit: the highest cost; None: any.
          likely: about what the kernel will cost; where not all shapes are tried, those that are
            good at about this cost are.
          is_over: whether no more shapes are to be tried than is necessary.
        """
        if self._fixed is not None:
            structure = read_layer_structure(self._fixed, *self._size)
            self._measured[LEFT] = self._plan_of(structure, self.errors.decomposed(structure))
        affordable = {}
        for index, family in enumerate(self._families):
            max_rank = family.max_rank
            if limit is not None:
                max_rank = min(max_rank, limit // family.unit)
            if max_rank >= family.min_rank:
                affordable[index] = max_rank
        if self._is_small or self._is_large:
            for index in self._sample(list(affordable)) if self._is_large else affordable:
                structure = self._families[index].structure
                self._keep(index, self.errors.all_values(structure, affordable[index]))
        elif affordable:
            self._search(affordable, likely, is_over)

    def _search(
        self, affordable: Mapping[int, int], likely: int, is_over: Callable[[], bool]
    ) -> None:
        """Estimates the errors of shapes that a search finds, and of all other kinds' shapes."""

        def estimate(index: int) -> Float[np.ndarray, " levels"]:
            structure = self._families[index].structure
            self._keep(index, self.errors.sketched(structure, affordable[index]))
            return self._squares_at([level * likely for level in _LEVELS], index)

        kronecker, shapes = [], []
        for index in affordable:
            structure = self._families[index].structure
            if isinstance(structure, KroneckerStructure):
                kronecker.append(index)
                shapes.append(structure.terms[0].shapes)
            else:
                estimate(index)
        if kronecker:
            units = np.array([self._families[i].unit for i in kronecker])
            ranks = np.array([affordable[i] for i in kronecker])
            firsts, seconds = np.array(shapes).transpose(1, 0, 2)
            kept = undominated(firsts, seconds, units, ranks)
            tries = max(self._max_shapes, _SKETCHED // self.size)
            search(firsts[kept], lambda i: estimate(kronecker[kept[i]]), tries, is_over)

    def _squares_at(self, costs: Sequence[float], index: int) -> Float[np.ndarray, " costs"]:
        """Returns the squared errors of a shape at costs, infinite where it has no rank so low."""
        family, squares = self._families[index], self._squares[index]
        ranks = np.minimum(np.asarray(costs) // family.unit, len(squares)).astype(int)
        return np.where(ranks >= family.min_rank, squares[ranks - 1], math.inf)

    def _keep(self, index: int, found: RankErrors) -> None:
        self._squares[index] = found.squares
        if not found.are_exact:
            self._estimated.add(index)
        elif self._has_values(index):
            self._known[index] = found

    def compare(self, cost: int, is_over: Callable[[], bool]) -> None:
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
        exact = self._squares.keys() - self._estimated
        true = [self._squares_at([cost], index)[0] for index in exact]
        hopeless = _HOPELESS * min(true, default=math.inf)
        work, ratios = 0.0, {}
        for count, (square, index, rank) in enumerate(sorted(at_cost)[: self._max_shapes]):
            if len(ratios) >= _ENOUGH and square * min(ratios.values()) > hopeless:
                break
            if count >= _LEAST_COMPARED and (work > _COMPARING or is_over()):
                break
            work += (rank * self._size[0]) ** 2 + self.size * rank
            _, error = self.errors.after_sweeps(self._structure((index, rank)), _FEW_SWEEPS)
            assert error is not None  # as it is weighted
            self._correct((index, rank), error)
            ratios[index] = error**2 / max(square, 1e-12)
        if ratios:
            self._scale(self._estimated - ratios.keys(), float(np.median(list(ratios.values()))))

    @property
    def kinds(self) -> set[str]:
        """The kinds of structures among the options."""
        return {family.structure.kind for family in self._families}

    def known(self, *, measured: bool, nearly: bool, kind: str | None = None) -> Listed:
        """Returns the options ``(shape, rank)``, their costs and their squared errors.

        All of them, or only those of which the error is known, or a bound of it; with ``nearly``
        also those next to them; of one kind, if it is given, and what leaves the kernel.
        """

        def is_asked_for(index: int) -> bool:
            return kind in (None, self._families[index].structure.kind)

        measured_at: dict[int, list[int]] = {}
        plans = {c: p for c, p in self._measured.items() if c == LEFT or is_asked_for(c[0])}
        for index, rank in plans:
            measured_at.setdefault(index, []).append(rank)
        choices = [np.array(list(plans), int).reshape(-1, 2)]
        costs = [np.array([self.cost_of(choice) for choice in plans], int)]
        squares = [np.array([plan.error**2 for plan in plans.values()])]
        for index, values in self._squares.items():
            if not is_asked_for(index):
                continue
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
            structure = self._structure(choice)
            errors = self.errors.after_sweeps(structure, _FEW_SWEEPS)
            self._measured[choice] = self._plan_of(structure, errors)
            ratio = self._correct(choice, self._measured[choice].error)
            # By so much the estimates of the others are off at about this cost, too.
            self._scale(self._estimated - {known for known, _ in self._measured}, ratio)
            return True
        if self._has_values(index):
            # All ranks take as long as one: others of the same shape may be chosen next.
            structure = self._families[index].structure
            values = self.errors.all_values(structure, len(self._squares[index]))
            self._squares[index] = values.squares
            self._known[index] = values
            return True
        structure = self._structure(choice)
        self._measured[choice] = self._plan_of(structure, self.errors.decomposed(structure))
        self._correct(choice, self._measured[choice].error)
        return True

    def plan(self, choice: Choice) -> LayerPlan:
        """Returns the plan of an option, with its true errors, and what they are beside others."""
        return dataclasses.replace(self._plan(choice), energies=self._energies(choice))

    def _plan(self, choice: Choice) -> LayerPlan:
        index, rank = choice
        if choice != LEFT and self._fits_in_short(choice):
            structure = self._structure(choice)
            errors = self.errors.after_sweeps(structure, _LAST_SWEEPS, _LAST_TOLERANCE)
            return self._plan_of(structure, errors)
        if choice in self._measured:
            return self._measured[choice]
        known = self._known.get(index)
        if known is not None and known.squares[rank - 1] > _LITTLE:
            error = math.sqrt(known.squares[rank - 1])
            if not self._weighted:
                return self._plan_of(self._structure(choice), (error, None))
            if known.kernel_squares is not None:
                of_kernel = math.sqrt(known.kernel_squares[rank - 1])
                return self._plan_of(self._structure(choice), (of_kernel, error))
        structure = self._structure(choice)
        return self._plan_of(structure, self.errors.decomposed(structure))

    def _energies(self, choice: Choice) -> KernelEnergies | None:
        """Returns what is kept at the size of an option, at half the size where it is left."""
        parameters = self.size // 2
        if choice != LEFT:
            parameters = self._structure(choice).num_parameters
        kept: dict[int, float] = {}
        low_rank = None
        for index, squares in self._squares.items():
            structure = self._families[index].structure
            share = share_at(1 - squares, parameters / structure.num_parameters)
            if isinstance(structure, KroneckerStructure):
                kept[index] = max(0.0, share)
            elif isinstance(structure, LowRankStructure):
                low_rank = share
        if not kept:
            return None
        best = max(kept, key=kept.__getitem__)
        structure = self._families[best].structure
        assert isinstance(structure, KroneckerStructure)
        shares, count = self.errors.random_shares(structure)
        # To no higher rank than the kernel's.
        shares = shares[: len(self._squares[best])]
        random = share_at(shares, parameters / structure.num_parameters)
        # Estimates for weights that are no Kronecker product are off for both by as much.
        random = 1 - min(1.0, (1 - random) * self._factors.get(best, 1.0))
        return KernelEnergies(parameters, count, kept[best], random, low_rank)

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
        return fits_shortly(self._structure(choice))

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
        self._scale_one(index, factor)
        return factor

    def _scale(self, indices: Iterable[int], factor: float) -> None:
        """Scales the estimates of shapes of two factors."""
        for index in indices:
            if isinstance(self._families[index].structure, KroneckerStructure):
                self._scale_one(index, factor)

    def _scale_one(self, index: int, factor: float) -> None:
        self._squares[index] = self._squares[index] * factor
        self._factors[index] = factor * self._factors.get(index, 1.0)

    def _plan_of(self, structure: LayerStructure, errors: Errors) -> LayerPlan:
        return LayerPlan(self.path, *self._size, str(structure), *errors)

    def _structure(self, choice: Choice) -> LayerStructure:
        return self._families[choice[0]].structure.with_rank(choice[1])
