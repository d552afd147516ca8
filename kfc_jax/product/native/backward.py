"""The backward kernel: gradients of samples and of both factors, from samples and factors alone.

Several samples are treated at once where a side is short, so that the products that give the
factors' gradients have a long inner side: their sums are then loaded and stored less often.
"""

from __future__ import annotations

import dataclasses

from kfc_jax.product.native.builder import Code, Index, Value
from kfc_jax.product.native.handler import BATCH, Array, Handler
from kfc_jax.product.native.kernels import Kernel
from kfc_jax.product.native.samples import read, sample_at, write
from kfc_jax.product.native.tiles import Matrix, add_up, multiply, transpose


def backward_handler(kernel: Kernel, slots: int) -> Handler:
    """Returns the handler.

    Its arguments are `x (batch, inputs)`, `A (r, n1, m1)`, `B (r, n2, m2)`, `B` transposed
    `(r, m2, n2)` and `g (batch, features)`; its results the gradients of `x`, `A` and `B`, and room
    for the slots: the gradients of `B` and of `A` (transposed, if A is first) of each.
    """
    (n1, m1), (n2, m2) = kernel.pair
    r, compute = kernel.rank, kernel.compute
    return Handler(
        name=f"{kernel.name}_{slots}",
        compute=compute,
        arguments=[
            Array(kernel.dtype, (BATCH, kernel.inputs)),
            Array(compute, (r, n1, m1)),
            Array(compute, (r, n2, m2)),
            Array(compute, (r, m2, n2)),
            Array(kernel.dtype, (BATCH, kernel.features)),
        ],
        results=[
            Array(kernel.dtype, (BATCH, kernel.inputs)),
            Array(compute, (r, n1, m1)),
            Array(compute, (r, n2, m2)),
            Array(compute, (slots, kernel.factor_numbers)),
        ],
        flops=kernel.flops,
        cut=lambda code, batch, threads: (code.ceil_div(batch, slots), slots),
        unit=lambda *arguments: _unit(kernel, *arguments),
        finish=lambda code, arrays: _add_slots(kernel, slots, code, arrays),
    )


def _add_slots(kernel: Kernel, slots: int, code: Code, arrays: list[Value]) -> None:
    """Writes the factors' gradients: the sums of all slots, always in the same order."""
    *_, of_a, of_b, room = arrays
    (n1, m1), (n2, m2) = kernel.pair
    if slots > 1:
        add_up(code, slots, room, room, kernel.factor_numbers)
    size_b = kernel.rank * n2 * m2
    code.copy(of_b, room, size_b * code.number_bytes)
    source = code.at(room, size_b)
    if not kernel.left_first:
        code.copy(of_a, source, kernel.rank * n1 * m1 * code.number_bytes)
        return
    with code.loop(kernel.rank) as k:
        place = code.mul(k, n1 * m1)
        turned = Matrix(code.at(source, place), n1)
        transpose(code, m1, n1, turned, code.at(of_a, place))


def _unit(
    kernel: Kernel, code: Code, slot: Value, batch: Value, per_slot: Value, arrays: list[Value]
) -> None:
    """Writes one slot; one without samples is zero."""
    x, a, b, b_turned, g, of_x, _, _, room = arrays
    (_, _), (n2, m2) = kernel.pair
    of_b = code.at(room, code.mul(slot, kernel.factor_numbers))
    of_a = code.at(of_b, kernel.rank * n2 * m2)
    code.zero(of_b, kernel.factor_numbers)
    block = _Block(kernel, code, (x, a, b, b_turned, g, of_x, of_a, of_b))
    first = code.mul(slot, per_slot)
    last = code.min(code.add(first, per_slot), batch)
    if kernel.together == 1:
        with code.loop(last, first) as sample:
            block.write(sample, 1)
        return
    count = code.max(code.let(f"sub i64 {last}, {first}"), 0)
    whole = code.let(f"udiv i64 {count}, {kernel.together}")
    with code.loop(whole) as turn:
        block.write(code.add(first, code.mul(turn, kernel.together)), kernel.together)
    with code.loop(last, code.add(first, code.mul(whole, kernel.together))) as sample:
        block.write(sample, 1)


@dataclasses.dataclass(frozen=True)
class _Pointers:
    """Where some samples and the factors of one rank lie, and their gradients."""

    x: Value
    g: Value
    of_x: Value
    a: Value
    b: Value
    b_turned: Value
    of_a: Value
    of_b: Value


class _Block:
    """Some samples that lie one after the other, and the room that they need."""

    def __init__(self, kernel: Kernel, code: Code, arrays: tuple[Value, ...]) -> None:
        (n1, m1), (n2, m2) = kernel.pair
        self._kernel, self._code, self._arrays = kernel, code, arrays
        s = kernel.together
        state = s * (m1 * n2 if kernel.left_first else n1 * m2)
        self._t, self._of_t = code.scratch(state), code.scratch(state)
        self._turned = code.scratch(s * (n1 * n2 if kernel.left_first else m1 * m2))
        self._x = code.scratch(s * n1 * n2) if kernel.copies_inputs else None
        self._of_x = code.scratch(s * n1 * n2) if kernel.copies_inputs else None
        self._g = code.scratch(s * m1 * m2) if kernel.copies_features else None

    def write(self, first: Index, s: int) -> None:
        """Writes the gradients of `s` samples, and adds to those of the factors."""
        kernel, code = self._kernel, self._code
        x, a, b, b_turned, g, of_x, of_a, of_b = self._arrays
        (n1, m1), (n2, m2) = kernel.pair
        source = sample_at(code, kernel.dtype, x, first, kernel.inputs)
        target = sample_at(code, kernel.dtype, of_x, first, kernel.inputs)
        gradient = sample_at(code, kernel.dtype, g, first, kernel.features)
        if self._x:
            self._read(self._x, source, kernel.inputs, n1 * n2, s)
        if self._g:
            self._read(self._g, gradient, kernel.features, m1 * m2, s)
        x_s, g_s, of_x_s = self._x or source, self._g or gradient, self._of_x or target
        if kernel.rank > 1:
            code.zero(of_x_s, s * n1 * n2)
        sides = (n1, n2, x_s) if kernel.left_first else (m1, m2, g_s)
        with code.loop(s) as q:
            rows, columns, array = sides
            place = code.mul(q, rows * columns)
            goal = code.at(self._turned, place)
            transpose(code, rows, columns, Matrix(code.at(array, place), columns), goal)
        with code.loop(kernel.rank) as k:
            at_a, at_b = code.mul(k, n1 * m1), code.mul(k, n2 * m2)
            pointers = _Pointers(
                x_s,
                g_s,
                of_x_s,
                *(code.at(a, at_a), code.at(b, at_b), code.at(b_turned, at_b)),
                *(code.at(of_a, at_a), code.at(of_b, at_b)),
            )
            one_rank = self._left_first if kernel.left_first else self._right_first
            one_rank(s, pointers)
        if self._of_x:
            with code.loop(s) as q:
                done = code.at(of_x_s, code.mul(q, n1 * n2))
                place = sample_at(code, kernel.dtype, target, q, kernel.inputs)
                write(code, kernel.dtype, place, done, kernel.inputs)

    def _read(self, room: Value, source: Value, count: int, padded: int, s: int) -> None:
        code, dtype = self._code, self._kernel.dtype
        with code.loop(s) as q:
            place = sample_at(code, dtype, source, q, count)
            read(code, dtype, code.at(room, code.mul(q, padded)), place, count, padded)

    def _left_first(self, s: int, at: _Pointers) -> None:
        """T = A.T X;  dT = G B.T;  dX += A dT;  dB += T.T G;  dA.T += dT X.T."""
        code, add = self._code, self._kernel.rank > 1
        (n1, m1), (n2, m2) = self._kernel.pair
        with code.loop(s) as q:
            x_q = code.at(at.x, code.mul(q, n1 * n2))
            t_q = code.at(self._t, code.mul(q, m1 * n2))  # samples below each other
            multiply(
                code, (m1, n2, n1), Matrix(at.a, 1, m1), Matrix(x_q, n2), Matrix(t_q, n2), add=False
            )
            g_q = code.at(at.g, code.mul(q, m1 * m2))
            of_t = Matrix(code.at(self._of_t, code.mul(q, n2)), s * n2)  # side by side
            multiply(code, (m1, n2, m2), Matrix(g_q, m2), Matrix(at.b_turned, n2), of_t, add=False)
            of_x_q = Matrix(code.at(at.of_x, code.mul(q, n1 * n2)), n2)
            multiply(code, (n1, n2, m1), Matrix(at.a, m1), of_t, of_x_q, add=add)
        t_turned = Matrix(self._t, 1, n2)
        multiply(code, (n2, m2, s * m1), t_turned, Matrix(at.g, m2), Matrix(at.of_b, m2), add=True)
        of_t = Matrix(self._of_t, s * n2)
        turned = Matrix(self._turned, n1)
        multiply(code, (m1, n1, s * n2), of_t, turned, Matrix(at.of_a, n1), add=True)

    def _right_first(self, s: int, at: _Pointers) -> None:
        """T = X B;  dT = A G;  dX += dT B.T;  dA += T G.T;  dB += X.T dT."""
        code, add = self._code, self._kernel.rank > 1
        (n1, m1), (n2, m2) = self._kernel.pair
        with code.loop(s) as q:
            x_q = code.at(at.x, code.mul(q, n1 * n2))
            t_q = Matrix(code.at(self._t, code.mul(q, m2)), s * m2)  # samples side by side
            multiply(code, (n1, m2, n2), Matrix(x_q, n2), Matrix(at.b, m2), t_q, add=False)
            g_q = Matrix(code.at(at.g, code.mul(q, m1 * m2)), m2)
            of_t = Matrix(code.at(self._of_t, code.mul(q, n1 * m2)), m2)  # below each other
            multiply(code, (n1, m2, m1), Matrix(at.a, m1), g_q, of_t, add=False)
            of_x_q = Matrix(code.at(at.of_x, code.mul(q, n1 * n2)), n2)
            multiply(code, (n1, n2, m2), of_t, Matrix(at.b_turned, n2), of_x_q, add=add)
        t, turned = Matrix(self._t, s * m2), Matrix(self._turned, m1)
        multiply(code, (n1, m1, s * m2), t, turned, Matrix(at.of_a, m1), add=True)
        of_t = Matrix(self._of_t, m2)
        multiply(code, (n2, m2, s * n1), Matrix(at.x, 1, n2), of_t, Matrix(at.of_b, m2), add=True)
