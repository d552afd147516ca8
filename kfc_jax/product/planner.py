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

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator
from typing import Literal, get_args

from kfc_jax.product.cost_model import Costs, Work
from kfc_jax.structures import KroneckerStructure, KroneckerTerm

Strategy = Literal["per_sample", "batched", "chunked", "whole_batch", "materialize"]

STRATEGIES: tuple[str, ...] = get_args(Strategy)
"""How a term is multiplied by.

- ``per_sample``: a loop over the samples, two small products each, without a transposition.
- ``batched``: batched products, one per sample, the factor repeated; no transpositions.
- ``chunked``: a loop over chunks of samples, few large products each, with transpositions.
- ``whole_batch``: the same for all samples at once.
- ``materialize``: the kernel is formed, and multiplied by as a dense one.
"""

Pair = tuple[tuple[int, int], tuple[int, int]]

UNROLL = 8
"""Samples that one round of a loop over samples treats; their products run side by side."""

_TURN_OF_A_BATCHED_PRODUCT = 0.1  # what one product of many in a call costs, in rounds of a loop
_LARGEST_INTERMEDIATE = 8 * 2**20  # bytes; of whole-batch programs where loops are an alternative
_CHUNK_BYTES = tuple(2**k for k in range(19, 24))  # 0.5 to 8 MiB


@dataclasses.dataclass(frozen=True)
class Program:
    """How to multiply by some terms of a structure.

    Attributes:
      terms: indices of the terms; more than one only if their kernel is formed.
      strategy: one of STRATEGIES.
      split: how many factors, from the left, are formed into ``A``; the rest into ``B``. 0: the
        factors are contracted one after the other, in the order of fewest FLOPs. A kernel is
        formed in a loop over the rows of ``A``; 0: at once.
      left_first: whether ``A`` is contracted before ``B``.
      chunk: samples that are treated at once.
      work: what the program does.
    """

    terms: tuple[int, ...]
    strategy: Strategy
    split: int
    left_first: bool
    chunk: int
    work: Work = dataclasses.field(compare=False)


def pair_of(term: KroneckerTerm, split: int) -> Pair:
    """Returns the shapes of the two factors that the factors left and right of a split form."""
    left, right = (
        (math.prod(n for n, _ in side), math.prod(m for _, m in side))
        for side in (term.shapes[:split], term.shapes[split:])
    )
    return left, right


def check_strategy(strategy: str) -> None:
    """Raises ValueError if ``strategy`` is neither ``auto`` nor one of STRATEGIES."""
    if strategy != "auto" and strategy not in STRATEGIES:
        raise ValueError(
            f"strategy is {strategy!r}; take 'auto' or one of {', '.join(map(repr, STRATEGIES))}."
        )


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
      structure: of the kernel.
      batch: number of samples.
      costs: of the machine.
      itemsize: bytes of a number.
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


def product(m: float, k: float, n: float, itemsize: int, count: float = 1) -> Work:
    """Returns the work of one call that makes ``count`` products ``(m, k) @ (k, n)``."""
    touched = count * (m * k + k * n + m * n) * itemsize
    return Work(calls=1, flops=count * 2 * m * k * n, touched=touched)


def _small(work: Work) -> Work:
    return dataclasses.replace(work, small=work.flops)


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
    splits = range(1, term.num_factors)
    for split, left_first in itertools.product(splits, (True, False)):
        pair = (n1, m1), (n2, m2) = pair_of(term, split)
        forming = _form(term, split, itemsize, backward)
        state = term.rank * (n2 * m1 if left_first else n1 * m2)
        for strategy, chunk in _chunks(state * itemsize, batch):
            program = Program((index,), strategy, split, left_first, chunk, Work())
            work = _two_factors(program, pair, term.rank, batch, itemsize, costs, backward)
            if is_padded:  # every step pads what it gets and cuts what it gives
                work += Work(rounds=batch / chunk * (2 if backward else 1))
            yield dataclasses.replace(program, work=forming + work)
    if term.num_factors > 2:
        sample = max(_chain_states(term)) * itemsize
        for strategy, chunk in _chunks(sample, batch):
            if strategy != "batched":
                work = _chain(term, chunk, batch, itemsize, costs, backward)
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


def _two_factors(
    program: Program,
    pair: Pair,
    r: int,
    batch: int,
    itemsize: int,
    costs: Costs,
    backward: bool,
) -> Work:
    """Returns the work of multiplying by two factors of rank ``r``, forming them left out."""
    (n1, m1), (n2, m2) = pair
    strategy, left_first, chunk = program.strategy, program.left_first, program.chunk
    if left_first:
        dims_a, dims_b, state = (m1 * r, n1, n2), (m1, r * n2, m2), m1 * r * n2
    else:
        dims_a, dims_b, state = (m1, n1 * r, m2), (n1, n2, r * m2), n1 * r * m2
    if strategy == "per_sample":
        a, b = _small(product(*dims_a, itemsize)), _small(product(*dims_b, itemsize))
    else:  # B multiplies the stacked samples from the right, without a transposition
        b = product(dims_b[0] * chunk, dims_b[1], dims_b[2], itemsize)
        if strategy == "batched":  # A is repeated for every sample
            a = _small(product(*dims_a, itemsize, chunk))
            moved = chunk * r * n1 * m1
        else:  # A multiplies samples that lie side by side: its operand and result are transposed
            a = product(dims_a[0], dims_a[1], dims_a[2] * chunk, itemsize)
            moved = chunk * (state + (n1 * n2 if left_first else m1 * m2)) if chunk > 1 else 0
        a += Work(calls=1 if moved else 0, moved=moved * itemsize)
    if backward:  # the first product again, then the gradients of both operands of both
        one = a.times(3) + b.times(2) if left_first else b.times(3) + a.times(2)
        one += Work(calls=1, touched=2 * r * (n1 * m1 + n2 * m2) * itemsize)  # sums of gradients
        products = 2.5
    else:
        one, products = a + b, 1.0
    alive = state * itemsize * (UNROLL if strategy == "per_sample" else chunk)
    if alive > costs.cache:
        one += Work(spilled=(4 if backward else 2) * state * chunk * itemsize)
    rounds = turns = batch / chunk
    calls = 0.0
    if strategy == "per_sample":  # what a sample costs beyond its products is the round's cost
        one, calls, turns = dataclasses.replace(one, calls=0), 2 * products, batch * products
    elif strategy == "batched":
        turns += batch * products * _TURN_OF_A_BATCHED_PRODUCT
    turns = turns if turns > 1 else 0
    peak = alive * (3 if backward else 1)
    return one.times(rounds) + Work(calls=calls, rounds=turns, peak=peak)


def _chain_states(term: KroneckerTerm) -> list[int]:
    """Returns the sizes of one sample's intermediates when factors are contracted one by one."""
    size, states = term.inputs, []
    for step, k in enumerate(term.contraction_order[:-1]):
        n, m = term.shapes[k]
        size = size // n * m * (term.rank if step == 0 else 1)
        states.append(size)
    return states


def _chain(
    term: KroneckerTerm, chunk: int, batch: int, itemsize: int, costs: Costs, backward: bool
) -> Work:
    """Returns the work of contracting all factors one after the other."""
    rounds = batch / chunk
    one, size = Work(), term.inputs
    states = [*_chain_states(term), term.features]
    for step, (k, after) in enumerate(zip(term.contraction_order, states, strict=True)):
        _, m = term.shapes[k]
        flops = 2 * chunk * size * m * (term.rank if step == 0 else 1)
        touched = chunk * (size + after) * itemsize
        one += Work(calls=2, flops=flops, touched=touched, moved=chunk * size * itemsize)
        size = after
    peak = 2 * max(states) * chunk * itemsize
    if peak > costs.cache:
        one += Work(spilled=2 * sum(states) * chunk * itemsize)
    if backward:
        one = one.times(3)
    loop = Work(rounds=rounds if rounds > 1 else 0, peak=peak * (2 if backward else 1))
    return one.times(rounds) + loop


def _form(term: KroneckerTerm, split: int, itemsize: int, backward: bool) -> Work:
    """Returns the work of forming the factors left and right of a split."""
    work = Work()
    for side in (term.shapes[:split], term.shapes[split:]):
        if len(side) > 1:
            size = term.rank * math.prod(n * m for n, m in side) * itemsize
            work += Work(calls=len(side) - 1, moved=size, touched=size)
    return work.times(3 if backward else 1)


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
