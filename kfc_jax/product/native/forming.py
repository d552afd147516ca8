"""Forming the kernel that two factors stand for, and the factors' gradients from the kernel's.

With `K[i1, i2, j1, j2] = sum_r A[r, i1, j1] B[r, i2, j2]`, everything is a product of small
matrices again, the ranks being the inner side of one and the outer sides of the others:

    K[i1, i2]   = A[:, i1].T @ B[:, i2]                     (m1, r) @ (r, m2)
    dA[:, i1].T = sum over i2 of  dK[i1, i2] @ B[:, i2].T   (m1, m2) @ (m2, r)
    dB[:, i2]   = sum over i1 of  A[:, i1] @ dK[i1, i2]     (r, m1) @ (m1, m2)

A unit is a row `i1` (of `dB` a row `i2`), so that no two units write the same numbers. XLA's
product over the ranks has to be moved to where its numbers belong; here they are written there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from kfc_jax.product.native.builder import Code, Index, Value
from kfc_jax.product.native.handler import BATCH, Array, Handler
from kfc_jax.product.native.host import Host
from kfc_jax.product.native.tiles import Matrix, half_cycles, multiply

_FLOPS_OF_A_UNIT = 500_000


@dataclasses.dataclass(frozen=True)
class Former:
    """What the three handlers depend on, but for the CPU.

    Attributes:
      pair: shapes of both factors, `((n1, m1), (n2, m2))`.
      rank: products that are summed.
      compute: type of the numbers, `float32` or `float64`.
    """

    pair: tuple[tuple[int, int], tuple[int, int]]
    rank: int
    compute: str

    @property
    def size(self) -> int:
        """Numbers of the kernel."""
        (n1, m1), (n2, m2) = self.pair
        return n1 * n2 * m1 * m2

    @property
    def flops(self) -> int:
        """FLOPs of the kernel, and of either gradient."""
        return 2 * self.rank * self.size

    def half_cycles(self, host: Host) -> float:
        """Half cycles of one core that forming takes, masked lanes counted."""
        return self._half_cycles((0,), host)

    def half_cycles_of_gradients(self, host: Host) -> float:
        """Half cycles of one core that both gradients take."""
        return self._half_cycles((1, 2), host)

    def _half_cycles(self, which: tuple[int, ...], host: Host) -> float:
        (n1, m1), (n2, m2) = self.pair
        r = self.rank
        sizes = ((m1, m2, r), (m1, r, m2), (r, m2, m1))
        return n1 * n2 * sum(half_cycles(sizes[i], host, self.compute) for i in which)


def forming_handler(former: Former) -> Handler:
    """Returns the handler: `A (n1, r, m1)`, `B (r, n2, m2)` to the kernel `(n1, n2, m1, m2)`."""
    (_, m1), (n2, m2) = former.pair
    r = former.rank

    def unit(code: Code, row: Index, arrays: list[Value]) -> None:
        a, b, kernel = arrays
        left = Matrix(code.at(a, code.mul(row, r * m1)), row=1, column=m1)
        with code.loop(n2) as i2:
            right = Matrix(code.at(b, code.mul(i2, m2)), n2 * m2)
            place = code.mul(code.add(code.mul(row, n2), i2), m1 * m2)
            target = Matrix(code.at(kernel, place), m2)
            multiply(code, (m1, m2, r), left, right, target, add=False)

    return _handler(
        former,
        "kernel",
        [(BATCH, r, m1), (r, n2, m2)],
        (BATCH, n2, m1, m2),
        unit,
    )


def left_gradient_handler(former: Former) -> Handler:
    """Returns the handler: `dK (n1, n2, m1, m2)`, `B (n2, m2, r)` to `dA (n1, m1, r)`."""
    (_, m1), (n2, m2) = former.pair
    r = former.rank

    def unit(code: Code, row: Index, arrays: list[Value]) -> None:
        of_kernel, b, of_a = arrays
        target = code.at(of_a, code.mul(row, m1 * r))
        code.zero(target, m1 * r)
        with code.loop(n2) as i2:
            place = code.mul(code.add(code.mul(row, n2), i2), m1 * m2)
            left = Matrix(code.at(of_kernel, place), m2)
            right = Matrix(code.at(b, code.mul(i2, m2 * r)), r)
            multiply(code, (m1, r, m2), left, right, Matrix(target, r), add=True)

    return _handler(
        former,
        "left",
        [(BATCH, n2, m1, m2), (n2, m2, r)],
        (BATCH, m1, r),
        unit,
    )


def right_gradient_handler(former: Former) -> Handler:
    """Returns the handler: `dK (n1, n2, m1, m2)`, `A (n1, r, m1)` to `dB (n2, r, m2)`."""
    (n1, m1), (n2, m2) = former.pair
    r = former.rank

    def unit(code: Code, row: Index, arrays: list[Value]) -> None:
        of_kernel, a, of_b = arrays
        target = code.at(of_b, code.mul(row, r * m2))
        code.zero(target, r * m2)
        with code.loop(n1) as i1:
            left = Matrix(code.at(a, code.mul(i1, r * m1)), m1)
            place = code.mul(code.add(code.mul(i1, n2), row), m1 * m2)
            right = Matrix(code.at(of_kernel, place), m2)
            multiply(code, (r, m2, m1), left, right, Matrix(target, m2), add=True)

    return _handler(
        former,
        "right",
        [(n1, BATCH, m1, m2), (n1, r, m1)],
        (BATCH, r, m2),
        unit,
    )


def _handler(
    former: Former,
    way: str,
    arguments: Sequence[tuple[int, ...]],
    result: tuple[int, ...],
    write_row: Callable[[Code, Index, list[Value]], None],
) -> Handler:
    """Returns a handler whose samples are rows `i1` or `i2`."""
    (n1, m1), (n2, m2) = former.pair
    flops = former.flops // (n2 if way == "right" else n1)
    rows = max(1, _FLOPS_OF_A_UNIT // flops)

    def unit(code: Code, number: Value, count: Value, per_unit: Value, arrays: list[Value]) -> None:
        first = code.mul(number, per_unit)
        with code.loop(code.min(code.add(first, per_unit), count), first) as row:
            write_row(code, row, arrays)

    return Handler(
        name=f"kfc_form_{way}_{former.compute}_{former.rank}_{n1}x{m1}_{n2}x{m2}",
        compute=former.compute,
        arguments=[Array(former.compute, shape) for shape in arguments],
        results=[Array(former.compute, result)],
        flops=flops,
        cut=lambda code, count, threads: (rows, code.ceil_div(count, rows)),
        unit=unit,
    )
