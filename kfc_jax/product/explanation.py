"""What a product with a Kronecker-factored kernel will do on a machine, in words and numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from kfc_jax.product.cost_model import Costs, Work, costs_of
from kfc_jax.product.count_work import product
from kfc_jax.product.native import host_of
from kfc_jax.product.planner import make_plan, total
from kfc_jax.product.program import Program
from kfc_jax.structures import KroneckerStructure, KroneckerTerm

_LARGEST_BATCH = 2**16


@dataclasses.dataclass(frozen=True)
class Explanation:
    """A plan with what it costs; times are predictions of the cost model, not measurements.

    Attributes:
      structure: the structure of the kernel.
      batch: the number of samples.
      platform: the platform that the plan is for.
      backward: whether this is the backward pass.
      programs: one program for every term, or group of terms whose kernel is formed.
      work: the work of all programs together.
      seconds: the predicted time in seconds.
      dense_seconds: the predicted time in seconds of a dense kernel of the same size.
      dense_as_fast_from_batch: the smallest batch, a power of two, from which on a dense layer is
        predicted to be at least as fast as this one; None: this one is still faster at 65,536; 1:
        it is never faster.
      faster_up_to_rank: the largest rank with which a structure of one term is predicted to be
        faster than a dense kernel at this batch; 0: none is; None for several terms.
    """

    structure: KroneckerStructure
    batch: int
    platform: str
    backward: bool
    programs: tuple[Program, ...]
    work: Work
    seconds: float
    dense_seconds: float
    dense_as_fast_from_batch: int | None
    faster_up_to_rank: int | None

    @property
    def flops(self) -> int:
        """The least arithmetic of ``x @ kernel`` at this batch, ``structure.flops(batch)``.

        It is that of the forward pass, also where the backward pass is explained.
        """
        return self.structure.flops(self.batch)

    @property
    def planned_flops(self) -> int:
        """The FLOPs of the matrix products that the plan does, which may be more for speed."""
        return round(self.work.flops + self.work.native_flops)

    @property
    def bytes(self) -> int:
        """The number of bytes that products and copies read and write."""
        return round(self.work.touched + self.work.moved)

    @property
    def peak_intermediate(self) -> int:
        """The size in bytes of the largest intermediates that are alive at once."""
        return round(self.work.peak)

    @property
    def speedup(self) -> float:
        """The predicted time of a dense kernel over this one's."""
        return self.dense_seconds / self.seconds

    def __str__(self) -> str:
        direction = "backward" if self.backward else "forward"
        size = f"{self.structure.inputs}x{self.structure.features}"
        lines = [f"'{self.structure}' ({size}), batch {self.batch}, {direction} on {self.platform}"]
        lines += [f"  {_describe(program, self.structure)}" for program in self.programs]
        lines.append(
            f"  {_count(self.planned_flops)}FLOP planned, {_count(self.flops)}FLOP are the least "
            f"of a forward pass; {_count(self.bytes)}B read and written, intermediates up to "
            f"{_count(self.peak_intermediate)}B"
        )
        lines.append(
            f"  predicted {self.seconds * 1e6:,.0f} us, dense {self.dense_seconds * 1e6:,.0f} us: "
            f"{self.speedup:.2f} times as fast"
        )
        lines.append(f"  {self._compared_with_dense()}")
        return "\n".join(lines)

    def _compared_with_dense(self) -> str:
        batch, rank = self.dense_as_fast_from_batch, self.faster_up_to_rank
        words = f"dense is slower up to batch {_LARGEST_BATCH:,}"
        if batch is not None:
            words = f"dense is as fast from batch {batch:,} on"
        if rank is not None:
            words += f"; at batch {self.batch:,}, faster than dense up to rank {rank:,}"
        return words


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
      structure: the structure of the kernel, or its text form.
      batch: the number of samples, all leading axes together.
      platform: ``cpu``, ``gpu`` or ``tpu``. Default: the one that JAX uses.
      dtype: the type of inputs and factors.
      strategy: the strategy, as in ``kronecker_matmul``.
      backward: whether to explain the backward pass in place of the forward one.

    Raises:
      ValueError: if the structure, the batch, the platform or the strategy is not as said.
    """
    if isinstance(structure, str):
        structure = KroneckerStructure.parse(structure)
    if batch < 1:
        raise ValueError(f"batch is {batch}; a plan needs at least 1 sample.")
    platform = platform or jax.default_backend()
    costs, dtype = costs_of(platform), np.dtype(dtype)
    host = host_of(platform)

    def plan(structure: KroneckerStructure, batch: int) -> tuple[Program, ...]:
        return make_plan(
            structure,
            batch,
            costs,
            dtype=dtype.name,
            strategy=strategy,
            backward=backward,
            host=host,
        )

    def is_faster(structure: KroneckerStructure, batch: int) -> bool:
        dense = _dense_seconds(structure, batch, dtype.itemsize, costs, backward)
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
        _dense_seconds(structure, batch, dtype.itemsize, costs, backward),
        _dense_as_fast_from_batch(lambda b: is_faster(structure, b)),
        _faster_up_to_rank(structure, lambda s: is_faster(s, batch)),
    )


def _dense_seconds(
    structure: KroneckerStructure, batch: int, itemsize: int, costs: Costs, backward: bool
) -> float:
    sizes = batch, structure.inputs, structure.features
    return costs.seconds(product(*sizes, itemsize).times(2 if backward else 1))


def _dense_as_fast_from_batch(is_faster: Callable[[int], bool]) -> int | None:
    batch, answer = _LARGEST_BATCH, None
    while batch >= 1 and not is_faster(batch):
        answer, batch = batch, batch // 2
    return answer


def _faster_up_to_rank(
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
        how = " natively" if program.forming == "natively" else ""
        return f"{terms}: form the kernel{how}, one product with it"
    words = program.strategy.replace("_", " ")
    if program.strategy == "native":
        words += " kernel"
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
