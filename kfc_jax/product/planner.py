"""The plan of a product ``x @ kernel``: which programs multiply by which terms, chosen by cost.

A program multiplies by one term (or by several, if it forms their kernel). A term of more than two
factors becomes one of two, by forming the product of the factors left and right of a split, or its
factors are contracted one after the other. With two factors ``A: (r, n1, m1)``, ``B: (r, n2, m2)``
there are two orders, with these products for one sample ``X: (n1, n2)``::

    A first:  T = At @ X,  (m1 r, n1) @ (n1, n2);   y = T @ Bc,  (m1, r n2) @ (r n2, m2)
    B first:  T = X @ Bc,  (n1, n2) @ (n2, r m2);   y = Ac @ T,  (m1, n1 r) @ (n1 r, m2)

and several strategies, STRATEGIES. A plan depends on static numbers alone: structure, batch, size
of the numbers, platform; so the same call has the same plan.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

from kfc_jax.product.cost_model import Costs, Work
from kfc_jax.product.count_work import (
    factor_product_sizes,
    product,
    work_of_factor_products,
    work_of_forming,
    work_of_two_factors,
)
from kfc_jax.product.program import Program, Strategy, check_strategy, pair_of
from kfc_jax.structures import KroneckerStructure, KroneckerTerm

_LARGEST_INTERMEDIATE = 8 * 2**20  # bytes; of whole-batch programs where loops are an alternative
_CHUNK_BYTES = tuple(2**k for k in range(19, 24))  # 0.5 to 8 MiB


@functools.lru_cache(maxsize=4096)
def make_plan(
    structure: KroneckerStructure,
    batch: int,
    costs: Costs,
    *,
    itemsize: int = 4,
    strategy: str = "auto",
    backward: bool = False,
) -> tuple[Program, ...]:
    """Returns the programs, one for every term or group of terms, whose sum is the product.

    Args:
      structure: the structure of the kernel.
      batch: the number of samples.
      costs: the constants of the machine.
      itemsize: the size of a number in bytes.
      strategy: one of STRATEGIES, for every term; ``auto``: the one predicted to be fastest.
      backward: whether to plan the backward pass, which recomputes the intermediates and gives the
        gradients of the inputs and of the factors.

    Raises:
      ValueError: if there is no such strategy.
    """
    check_strategy(strategy)
    batch = max(1, batch)
    indices = range(len(structure.terms))
    dense = _materialized(structure, tuple(indices), batch, itemsize, costs, backward)
    if strategy == "materialize":
        return (dense,)
    programs = []
    for index, term in enumerate(structure.terms):
        if term.num_factors == 1:  # the factor is the kernel
            programs.append(_materialized(structure, (index,), batch, itemsize, costs, backward))
            continue
        arguments = (batch, itemsize, costs, backward)
        candidates = list(_candidates(index, term, structure.is_padded, *arguments))
        wanted = [
            p
            for p in candidates
            if p.strategy == strategy
            or (strategy == "auto" and _is_eligible(p, batch, costs, backward))
        ]
        # A batch of one sample has whole_batch alone.
        programs.append(min(wanted or candidates, key=lambda p: costs.seconds(p.work)))
    plan = tuple(programs)
    if strategy != "auto":
        return plan
    # One product serves all kernels that are formed: try to form the k terms that cost the most.
    plans = [plan]
    by_cost = sorted(indices, key=lambda i: -costs.seconds(programs[i].work))
    for count in indices:
        formed = tuple(sorted(by_cost[: count + 1]))
        kernel = _materialized(structure, formed, batch, itemsize, costs, backward)
        plans.append((kernel, *(programs[i] for i in indices if i not in formed)))
    return min(plans, key=lambda p: costs.seconds(total(p)))


def candidate_programs(
    structure: KroneckerStructure,
    batch: int,
    costs: Costs,
    *,
    itemsize: int = 4,
    backward: bool = False,
) -> list[Program]:
    """Returns every program that a plan for a structure of one term chooses from."""
    arguments = (max(1, batch), itemsize, costs, backward)
    (term,) = structure.terms
    is_padded = structure.is_padded
    factored = _candidates(0, term, is_padded, *arguments) if term.num_factors > 1 else ()
    return [*factored, _materialized(structure, (0,), *arguments)]


def total(plan: tuple[Program, ...]) -> Work:
    """Returns the work of all programs of a plan."""
    return sum((program.work for program in plan), Work())


def _candidates(
    index: int,
    term: KroneckerTerm,
    is_padded: bool,
    batch: int,
    itemsize: int,
    costs: Costs,
    backward: bool,
) -> Iterator[Program]:
    """Yields the programs of one term of two or more factors, those that form its kernel left out.

    ``whole_batch`` comes first, so that it wins where nothing else differs.
    """
    positions = range(1, term.num_factors)
    for split, left_first in itertools.product(positions, (True, False)):
        pair = (n1, m1), (n2, m2) = pair_of(term, split)
        forming = work_of_forming(term, split, itemsize, backward)
        state = term.rank * (n2 * m1 if left_first else n1 * m2)
        for strategy, chunk in _chunks(state * itemsize, batch):
            work = work_of_two_factors(
                pair,
                term.rank,
                batch,
                itemsize,
                costs,
                strategy=strategy,
                left_first=left_first,
                chunk=chunk,
                backward=backward,
            )
            if is_padded:  # every step pads what it gets and cuts what it gives
                work += Work(rounds=batch / chunk * (2 if backward else 1))
            yield Program((index,), strategy, split, left_first, chunk, forming + work)
    if term.num_factors > 2:
        sample = max(factor_product_sizes(term)) * itemsize
        for strategy, chunk in _chunks(sample, batch):
            if strategy != "batched":
                work = work_of_factor_products(term, chunk, batch, itemsize, costs, backward)
                yield Program((index,), strategy, 0, True, chunk, work)


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


def _is_eligible(program: Program, batch: int, costs: Costs, backward: bool) -> bool:
    """Says whether a program may be chosen without being asked for."""
    if not costs.loops or batch == 1:
        return program.strategy == "whole_batch"
    if program.strategy == "batched":  # in a loop it repeats the factor for nothing
        return program.chunk == batch
    largest = _LARGEST_INTERMEDIATE * (3 if backward else 1)
    return program.strategy != "whole_batch" or program.work.peak <= largest


def _materialized(
    structure: KroneckerStructure,
    terms: tuple[int, ...],
    batch: int,
    itemsize: int,
    costs: Costs,
    backward: bool,
) -> Program:
    """Returns the program that forms the kernel of some terms."""
    n, m = structure.inputs, structure.features
    work = product(batch, n, m, itemsize).times(2 if backward else 1)
    for index in terms:
        term = structure.terms[index]
        if term.num_factors > 1:
            size = term.inputs * term.features * itemsize
            at_once = Work(calls=2, flops=term.materialize_flops, touched=size, moved=2 * size)
            by_rows = Work(calls=2, flops=term.materialize_flops, moved=size)
            work += by_rows if costs.loops else at_once
            if backward:  # the gradients of both factors
                work += at_once.times(2)
    trivial = all(structure.terms[i].num_factors == 1 for i in terms)
    peak = 0 if trivial and len(terms) == 1 else n * m * itemsize * (2 if backward else 1)
    by_rows = 1 if costs.loops else 0
    return Program(terms, "materialize", by_rows, True, batch, work + Work(peak=peak))
