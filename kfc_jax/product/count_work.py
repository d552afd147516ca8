"""How much work a program does: the matrix products and copies of each strategy, counted."""

from __future__ import annotations

import dataclasses
import math

from kfc_jax.product.cost_model import Costs, Work
from kfc_jax.product.native import Former, Host, Kernel
from kfc_jax.product.program import UNROLL, Pair, Strategy
from kfc_jax.structures import KroneckerTerm

_TURN_OF_A_BATCHED_PRODUCT = 0.1  # what one product of many in a call costs, in rounds of a loop


def product(m: float, k: float, n: float, itemsize: int, count: float = 1) -> Work:
    """Returns the work of one call that makes ``count`` products ``(m, k) @ (k, n)``."""
    touched = count * (m * k + k * n + m * n) * itemsize
    return Work(calls=1, flops=count * 2 * m * k * n, touched=touched)


def _small(work: Work) -> Work:
    return dataclasses.replace(work, small=work.flops)


def work_of_two_factors(
    pair: Pair,
    r: int,
    batch: int,
    itemsize: int,
    costs: Costs,
    *,
    strategy: Strategy,
    left_first: bool,
    chunk: int,
    backward: bool,
) -> Work:
    """Returns the work of multiplying by two factors of rank ``r``; forming them is left out."""
    (n1, m1), (n2, m2) = pair
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


def work_of_native(kernel: Kernel, batch: int, itemsize: int, host: Host) -> Work:
    """Returns the work of a native kernel; forming its two factors is left out."""
    factors = kernel.rank * sum(n * m for n, m in kernel.pair) * itemsize
    samples = batch * (kernel.inputs + kernel.features) * itemsize
    work = Work(native=batch * kernel.half_cycles(host), native_flops=batch * kernel.flops)
    if not kernel.backward:
        return work + Work(calls=1, touched=samples + factors, peak=kernel.scratch)
    # The gradients of the factors are written once for every slot, and summed by XLA; a factor is
    # transposed before.
    slots = kernel.slots(batch) * factors
    touched = 2 * samples + factors + 2 * slots
    peak = slots + kernel.scratch
    return work + Work(calls=3, touched=touched, moved=factors, peak=peak)


def work_of_forming_kernel(
    term: KroneckerTerm, itemsize: int, by_rows: bool, backward: bool
) -> Work:
    """Returns the work of forming a kernel by XLA, and backward of both factors' gradients."""
    size = term.inputs * term.features * itemsize
    at_once = Work(calls=2, flops=term.materialize_flops, touched=size, moved=2 * size)
    work = Work(calls=2, flops=term.materialize_flops, moved=size) if by_rows else at_once
    return work + at_once.times(2) if backward else work


def work_of_native_forming(former: Former, itemsize: int, host: Host, backward: bool) -> Work:
    """Returns the work of forming a kernel, and backward of the factors' gradients from its."""
    size = former.size * itemsize
    work = Work(calls=1, native=former.half_cycles(host), native_flops=former.flops, touched=size)
    if not backward:
        return work
    native = former.half_cycles_of_gradients(host)
    return work + Work(calls=2, native=native, native_flops=2 * former.flops, touched=2 * size)


def factor_product_sizes(term: KroneckerTerm) -> list[int]:
    """Returns the sizes of one sample's intermediates when factors are contracted in turn."""
    size, states = term.inputs, []
    for step, k in enumerate(term.contraction_order[:-1]):
        n, m = term.shapes[k]
        size = size // n * m * (term.rank if step == 0 else 1)
        states.append(size)
    return states


def work_of_factor_products(
    term: KroneckerTerm, chunk: int, batch: int, itemsize: int, costs: Costs, backward: bool
) -> Work:
    """Returns the work of contracting all factors one after the other."""
    rounds = batch / chunk
    one, size = Work(), term.inputs
    states = [*factor_product_sizes(term), term.features]
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


def work_of_forming(term: KroneckerTerm, split: int, itemsize: int, backward: bool) -> Work:
    """Returns the work of forming the factors left and right of a split."""
    work = Work()
    for side in (term.shapes[:split], term.shapes[split:]):
        if len(side) > 1:
            size = term.rank * math.prod(n * m for n, m in side) * itemsize
            work += Work(calls=len(side) - 1, moved=size, touched=size)
    return work.times(3 if backward else 1)
