"""What a product with a Kronecker-factored kernel will do on a machine, in words and numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from kfc_jax.product.cost_model import Costs, Work, costs_of
from kfc_jax.product.planner import Program, make_plan, product, total
from kfc_jax.structures import KroneckerStructure, KroneckerTerm

_LARGEST_BATCH = 2**16


@dataclasses.dataclass(frozen=True)
class Explanation:
    """A plan with what it costs; times are predictions of the cost model, not measurements.

    Attributes:
      structure: of the kernel.
      batch: number of samples.
      platform: that it is for.
      backward: whether this is the backward pass.
      programs: one for every term, or group of terms whose kernel is formed.
      work: of all programs together.
      seconds: predicted time.
      dense_seconds: predicted time of a dense kernel of the same size.
      break_even_batch: the smallest batch, a power of two, from which on this layer is predicted to
        be no faster than a dense one; None: faster at 65,536 still; 1: never faster.
      break_even_rank: the largest rank with which a structure of one term is predicted to be faster
        than a dense kernel at this batch; 0: none is; None for several terms.
    """

    structure: KroneckerStructure
    batch: int
    platform: str
    backward: bool
    programs: tuple[Program, ...]
    work: Work
    seconds: float
    dense_seconds: float
    break_even_batch: int | None
    break_even_rank: int | None

    @property
    def flops(self) -> int:
        """FLOPs of the matrix products."""
        return round(self.work.flops)

    @property
    def bytes(self) -> int:
        """Bytes that products and copies read and write."""
        return round(self.work.touched + self.work.moved)

    @property
    def peak_intermediate(self) -> int:
        """Bytes of the largest intermediates alive at once."""
        return round(self.work.peak)

    @property
    def speedup(self) -> float:
        """Predicted time of a dense kernel over this one's."""
        return self.dense_seconds / self.seconds

    def __str__(self) -> str:
        direction = "backward" if self.backward else "forward"
        size = f"{self.structure.inputs}x{self.structure.features}"
        lines = [f"'{self.structure}' ({size}), batch {self.batch}, {direction} on {self.platform}"]
        lines += [f"  {_describe(program, self.structure)}" for program in self.programs]
        lines.append(
            f"  {_count(self.flops)}FLOP, {_count(self.bytes)}B read and written, intermediates up "
            f"to {_count(self.peak_intermediate)}B"
        )
        lines.append(
            f"  predicted {self.seconds * 1e6:,.0f} us, dense {self.dense_seconds * 1e6:,.0f} us: "
            f"{self.speedup:.2f} times as fast"
        )
        lines.append(f"  break-even {self._break_even()}")
        return "\n".join(lines)

    def _break_even(self) -> str:
        batch = self.break_even_batch
        words = f"batch: {batch:,}" if batch else f"batch: none up to {_LARGEST_BATCH:,}"
        if self.break_even_rank is None:
            return words
        return f"{words}; faster than dense up to rank {self.break_even_rank:,}"


def explain(
    structure: KroneckerStructure | str,
    batch: int,
    platform: str | None = None,
    *,
    dtype: Any = np.float32,
    strategy: str = "auto",
    backward: bool = False,
) -> Explanation:
    """Returns the plan of a product, which prints as text.

      >>> print(explain("4:64x64*64x64", batch=256, platform="cpu"))  # doctest: +SKIP

    Args:
      structure: of the kernel, or its text form.
      batch: number of samples, all leading axes together.
      platform: ``cpu``, ``gpu`` or ``tpu``. Default: the one that JAX uses.
      dtype: of inputs and factors.
      strategy: as in ``kronecker_matmul``.
      backward: whether to explain the backward pass in place of the forward one.

    Raises:
      ValueError: if the structure, the batch, the platform or the strategy is not as said.
    """
    if isinstance(structure, str):
        structure = KroneckerStructure.parse(structure)
    if batch < 1:
        raise ValueError(f"batch is {batch}; a plan needs at least 1 sample.")
    platform = platform or jax.default_backend()
    costs, itemsize = costs_of(platform), np.dtype(dtype).itemsize

    def plan(structure: KroneckerStructure, batch: int) -> tuple[Program, ...]:
        return make_plan(
            structure, batch, costs, itemsize=itemsize, strategy=strategy, backward=backward
        )

    def is_faster(structure: KroneckerStructure, batch: int) -> bool:
        dense = _dense_seconds(structure, batch, itemsize, costs, backward)
        return costs.seconds(total(plan(structure, batch))) < dense

    programs = plan(structure, batch)
    return Explanation(
        structure,
        batch,
        platform,
        backward,
        programs,
        total(programs),
        costs.seconds(total(programs)),
        _dense_seconds(structure, batch, itemsize, costs, backward),
        _break_even_batch(lambda b: is_faster(structure, b)),
        _break_even_rank(structure, lambda s: is_faster(s, batch)),
    )


def _dense_seconds(
    structure: KroneckerStructure, batch: int, itemsize: int, costs: Costs, backward: bool
) -> float:
    sizes = batch, structure.inputs, structure.features
    return costs.seconds(product(*sizes, itemsize).times(2 if backward else 1))


def _break_even_batch(is_faster: Callable[[int], bool]) -> int | None:
    batch, answer = _LARGEST_BATCH, None
    while batch >= 1 and not is_faster(batch):
        answer, batch = batch, batch // 2
    return answer


def _break_even_rank(
    structure: KroneckerStructure, is_faster: Callable[[KroneckerStructure], bool]
) -> int | None:
    if len(structure.terms) > 1:
        return None
    (term,) = structure.terms

    def with_rank(rank: int) -> KroneckerStructure:
        terms = (KroneckerTerm(term.shapes, rank),)
        return KroneckerStructure(terms, structure.inputs, structure.features)

    low, high = 0, term.max_rank + 1  # faster at low, if that is a rank; not at high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_faster(with_rank(middle)) else (low, middle)
    return low


def _describe(program: Program, structure: KroneckerStructure) -> str:
    terms = " + ".join(str(structure.terms[index]) for index in program.terms)
    if program.strategy == "materialize":
        return f"{terms}: form the kernel, one product with it"
    words = program.strategy.replace("_", " ")
    if program.strategy in ("chunked", "batched"):
        words += f", {program.chunk} samples at once"
    if not program.split:
        return f"{terms}: {words}, factor by factor in the order of fewest FLOPs"
    sides = "left" if program.left_first else "right"
    factors = structure.terms[program.terms[0]].num_factors
    if factors > 2:
        words += f", factors 1-{program.split} and {program.split + 1}-{factors} formed"
    return f"{terms}: {words}, {sides} factor first"


def _count(number: float) -> str:
    for power, prefix in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if number >= 10**power:
            return f"{number / 10**power:.3g} {prefix}"
    return f"{number:.3g} "
