"""The plan of a product ``x @ kernel``: which programs multiply by which terms, chosen by cost.

A program multiplies by one term (or by several, if it forms their kernel). A term of more than two
factors becomes one of two, by forming the product of the factors left and right of a split, or its
factors are contracted one after the other. With two factors ``A: (r, n1, m1)``, ``B: (r, n2, m2)``
there are two orders, with these products for one sample ``X: (n1, n2)``::

    A first:  T = At @ X,  (m1 r, n1) @ (n1, n2);   y = T @ Bc,  (m1, r n2) @ (r n2, m2)
    B first:  T = X @ Bc,  (n1, n2) @ (n2, r m2);   y = Ac @ T,  (m1, n1 r) @ (n1 r, m2)

and several strategies, STRATEGIES. A plan depends on static numbers alone: structure, batch, type
of the numbers, platform, CPU; so the same call has the same plan.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator

import numpy as np

from kfc_jax.product.cost_model import Costs, Work
from kfc_jax.product.count_work import (
    factor_product_sizes,
    product,
    work_of_factor_products,
    work_of_forming,
    work_of_forming_kernel,
    work_of_native,
    work_of_native_forming,
    work_of_two_factors,
)
from kfc_jax.product.native import COMPUTED_WITH, Former, Host, make_kernel
from kfc_jax.product.program import (
    Forming,
    Program,
    Strategy,
    check_strategy,
    merged_structure,
    pair_of,
)
from kfc_jax.structures import KroneckerStructure, KroneckerTerm

_LARGEST_INTERMEDIATE = 8 * 2**20  # bytes; of whole-batch programs where loops are an alternative
_CHUNK_BYTES = tuple(2**k for k in range(19, 24))  # 0.5 to 8 MiB


@dataclasses.dataclass(frozen=True)
class _Case:
    """What a plan depends on, but for the structure."""

    batch: int
    dtype: str
    costs: Costs
    backward: bool
    host: Host | None

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return np.dtype(self.dtype).itemsize

    def seconds(self, program: Program) -> float:
        """Returns the time that a program is predicted to take."""
        return self.costs.seconds(program.work)


@functools.lru_cache(maxsize=4096)
def make_plan(
    structure: KroneckerStructure,
    batch: int,
    costs: Costs,
    *,
    dtype: str = "float32",
    strategy: str = "auto",
    backward: bool = False,
    host: Host | None = None,
) -> tuple[Program, ...]:
    """Returns the programs, one for every term or group of terms, whose sum is the product.

    Args:
      structure: the structure of the kernel.
      batch: the number of samples.
      costs: the constants of the machine.
      dtype: the type of inputs and factors, by name.
      strategy: one of STRATEGIES, for every term; ``auto``: the one predicted to be fastest.
      backward: whether to plan the backward pass, which recomputes the intermediates and gives the
        gradients of the inputs and of the factors.
      host: the CPU that native kernels are made for; None: there are none.

    Raises:
      ValueError: if there is no such strategy.
    """
    check_strategy(strategy)
    if strategy == "native" and host is None:
        strategy = "auto"
    case = _Case(max(1, batch), dtype, costs, backward, host)
    indices = range(len(structure.terms))
    if strategy == "materialize":
        return (_materialized(structure, tuple(indices), case),)
    programs = []
    for index in indices:
        candidates = _candidates(structure, index, case)
        wanted = [p for p in candidates if p.strategy == strategy] or [
            # A batch of one sample has whole_batch alone, and not every pair has a native kernel.
            p
            for p in candidates
            if strategy not in ("auto", "native") or _is_eligible(p, case)
        ]
        programs.append(min(wanted, key=case.seconds))
    plan = tuple(programs)
    if strategy != "auto":
        return plan
    # One product serves all kernels that are formed: try to form the k terms that cost the most.
    plans = [plan]
    by_cost = sorted(indices, key=lambda i: -case.seconds(programs[i]))
    for count in indices:
        formed = tuple(sorted(by_cost[: count + 1]))
        kernel = _materialized(structure, formed, case)
        plans.append((kernel, *(programs[i] for i in indices if i not in formed)))
    return min(plans, key=lambda p: costs.seconds(total(p)))


def candidate_programs(
    structure: KroneckerStructure,
    batch: int,
    costs: Costs,
    *,
    dtype: str = "float32",
    backward: bool = False,
    host: Host | None = None,
) -> list[Program]:
    """Returns every program that a plan for a structure of one term chooses from."""
    case = _Case(max(1, batch), dtype, costs, backward, host)
    kernel = _materialized(structure, (0,), case)
    (term,) = structure.terms
    return [kernel] if term.num_factors == 1 else [*_candidates(structure, 0, case), kernel]


def total(plan: tuple[Program, ...]) -> Work:
    """Returns the work of all programs of a plan."""
    return sum((program.work for program in plan), Work())


def _candidates(structure: KroneckerStructure, index: int, case: _Case) -> list[Program]:
    """Returns the programs of one term, those that form the kernel of several factors left out."""
    term = structure.terms[index]
    if term.num_factors == 1:  # the factor is the kernel
        return [_materialized(structure, (index,), case)]
    return [*_of_xla(structure, index, case), *_native(structure, index, case)]


def _of_xla(structure: KroneckerStructure, index: int, case: _Case) -> Iterator[Program]:
    """Yields XLA's programs of a term of two or more factors.

    ``whole_batch`` comes first, so that it wins where nothing else differs.
    """
    term, batch, itemsize = structure.terms[index], case.batch, case.itemsize
    for split, left_first in itertools.product(range(1, term.num_factors), (True, False)):
        pair = (n1, m1), (n2, m2) = pair_of(term, split)
        forming = work_of_forming(term, split, itemsize, case.backward)
        state = term.rank * (n2 * m1 if left_first else n1 * m2)
        for strategy, chunk in _chunks(state * itemsize, batch):
            work = work_of_two_factors(
                pair,
                term.rank,
                batch,
                itemsize,
                case.costs,
                strategy=strategy,
                left_first=left_first,
                chunk=chunk,
                backward=case.backward,
            )
            if structure.is_padded:  # every step pads what it gets and cuts what it gives
                work += Work(rounds=batch / chunk * (2 if case.backward else 1))
            yield Program((index,), strategy, split, left_first, chunk, forming + work)
    if term.num_factors > 2:
        sample = max(factor_product_sizes(term)) * itemsize
        for strategy, chunk in _chunks(sample, batch):
            if strategy != "batched":
                work = work_of_factor_products(
                    term, chunk, batch, itemsize, case.costs, case.backward
                )
                yield Program((index,), strategy, 0, True, chunk, work)


def _native(structure: KroneckerStructure, index: int, case: _Case) -> Iterator[Program]:
    """Yields the programs of native kernels, each with the one that XLA does in their place."""
    if case.host is None:
        return
    term = structure.terms[index]
    for split in range(1, term.num_factors):
        if not _has_useful_rank(term, split):
            continue
        merged = merged_structure(term, split)
        (pair_term,) = merged.terms
        otherwise = None
        for left_first in (True, False):
            kernel = make_kernel(
                pair_of(pair_term, 1),
                term.rank,
                structure.inputs,
                structure.features,
                case.dtype,
                case.batch,
                backward=case.backward,
                left_first=left_first,
            )
            if kernel is None:
                continue
            if otherwise is None:
                replacements = [p for p in _of_xla(merged, 0, case) if _is_eligible(p, case)]
                kernel_by_xla = _materialized(merged, (0,), case, native=False)
                otherwise = min([*replacements, kernel_by_xla], key=case.seconds)
            work = work_of_forming(term, split, case.itemsize, case.backward)
            work += work_of_native(kernel, case.batch, case.itemsize, case.host)
            yield Program((index,), "native", split, left_first, case.batch, work, otherwise)


def _chunks(sample: int, batch: int) -> Iterator[tuple[Strategy, int]]:
    """Yields strategies with chunks, given the bytes of one sample's intermediate."""
    yield "whole_batch", batch
    if batch == 1:  # then all strategies are the same
        return
    yield "per_sample", 1
    yield "batched", min(batch, max(1, _LARGEST_INTERMEDIATE // sample))
    # At least two samples: chunks of one are per_sample.
    sizes = {max(2, min(batch // 2, size // sample)) for size in _CHUNK_BYTES}
    for chunk in sorted(sizes):
        yield "chunked", -(-batch // -(-batch // chunk))  # of about equal size


def _is_eligible(program: Program, case: _Case) -> bool:
    """Says whether a program may be chosen without being asked for."""
    if program.strategy in ("native", "materialize"):
        return True
    if not case.costs.loops or case.batch == 1:
        return program.strategy == "whole_batch"
    if program.strategy == "batched":  # in a loop it repeats the factor for nothing
        return program.chunk == case.batch
    largest = _LARGEST_INTERMEDIATE * (3 if case.backward else 1)
    return program.strategy != "whole_batch" or program.work.peak <= largest


def _materialized(
    structure: KroneckerStructure, terms: tuple[int, ...], case: _Case, *, native: bool = True
) -> Program:
    """Returns the program that forms the kernel of some terms, by XLA alone if not `native`."""
    n, m = structure.inputs, structure.features
    formed = [t for t in (structure.terms[i] for i in terms) if t.num_factors > 1]
    host = case.host if native and case.dtype in COMPUTED_WITH else None
    if not all(_has_useful_rank(term, 1) for term in formed):
        host = None
    forming: Forming = "natively" if host else "by rows" if case.costs.loops else "at once"
    work = product(case.batch, n, m, case.itemsize).times(2 if case.backward else 1)
    for term in formed:
        if host:
            former = Former(pair_of(term, 1), term.rank, case.dtype)
            work += work_of_native_forming(former, case.itemsize, host, case.backward)
        else:
            work += work_of_forming_kernel(term, case.itemsize, forming == "by rows", case.backward)
    peak = n * m * case.itemsize * (2 if case.backward else 1)
    work += Work(peak=peak if formed or len(terms) > 1 else 0)
    return Program(terms, "materialize", 0, True, case.batch, work, forming=forming)


def _has_useful_rank(term: KroneckerTerm, split: int) -> bool:
    """Says whether a term, as one of two factors, has no more products than those can use."""
    return term.rank <= KroneckerTerm(pair_of(term, split)).max_rank
