"""The kernels of two thin matrices: `y = (x @ U) @ V`, and its gradients.

Samples are taken in blocks, so that what lies between, `T = X @ U` with as many columns as the
rank, never leaves the nearest cache:

    forward:   T = X @ U;    Y = T @ V
    backward:  S = G @ V.T;  dX = S @ U.T;  dU.T += S.T @ X;  T = X @ U;  dV += T.T @ G

`U` is handed over transposed, so that all long rows are dense; both have the shape of factors,
`(rank, inputs, 1)` and `(rank, 1, features)`, so that nothing is reshaped where a program is split
over devices. The gradients of both matrices are summed in slots, as those of factors are: which
samples belong to which slot depends on the batch alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from kfc_jax.product.native.builder import BYTES, Code, Index, Value
from kfc_jax.product.native.dots import multiply_rows
from kfc_jax.product.native.handler import BATCH, Array, Handler
from kfc_jax.product.native.host import Host
from kfc_jax.product.native.tiles import Matrix, add_up, multiply

_BLOCK_BYTES = 256 * 1024  # of a block's samples, inputs or results: a part of the second cache
_MOST_TOGETHER = 32
_MOST_SLOTS = 16
_ROWS = 8  # of a result that are written together
_SAMPLES_OF_A_SLOT = 16  # at least, as a slot is written and read for nothing else


@dataclasses.dataclass(frozen=True)
class ThinKernel:
    """A kernel of two thin matrices: everything that its code depends on, but for the CPU.

    Attributes:
      inputs: rows of the first matrix.
      rank: columns of the first matrix, and rows of the second.
      features: columns of the second.
      compute: type of all numbers, `float32` or `float64`.
      batch: number of samples, which the code is cut for; it is right for any number.
      backward: whether it gives the gradients.
      of_samples: backward, whether that of the samples is wanted.
    """

    inputs: int
    rank: int
    features: int
    compute: str
    batch: int
    backward: bool = False
    of_samples: bool = True

    @property
    def flops(self) -> int:
        """FLOPs of one sample."""
        forward = 2 * self.rank * (self.inputs + self.features)
        if not self.backward:
            return forward
        return 2 * forward + 2 * self.rank * self.inputs * (1 if self.of_samples else 0)

    @property
    def numbers(self) -> int:
        """How many numbers both matrices have."""
        return self.rank * (self.inputs + self.features)

    @property
    def slots(self) -> int:
        """In how many slots the gradients of the matrices are summed."""
        return max(1, min(_MOST_SLOTS, self.batch // _SAMPLES_OF_A_SLOT))

    @property
    def together(self) -> int:
        """Samples of a block."""
        share = -(-self.batch // (self.slots if self.backward else 8))
        room = _BLOCK_BYTES // (BYTES[self.compute] * max(self.inputs, self.features))
        most = max(1, min(_MOST_TOGETHER, room))
        return -(-share // -(-share // most))

    def scratch(self, host: Host) -> int:
        """Bytes on the stack that a unit takes."""
        of_a_pair = host.vector_bytes + (2 if self.backward else 1) * BYTES[self.compute]
        return self.together * self.rank * of_a_pair

    @property
    def name(self) -> str:
        """A name that tells kernels apart."""
        way = f"{'b' if self.backward else 'f'}{'' if self.of_samples else 'u'}{self.together}"
        return (
            f"kfc_thin_{self.compute}_{self.inputs}_{self.rank}_{self.features}_"
            f"{way}_{self.slots if self.backward else 1}"
        )


def thin_handler(kernel: ThinKernel) -> Handler:
    """Returns the handler.

    Forward, its arguments are `x (batch, inputs)`, `U` transposed `(rank, inputs, 1)` and
    `V (rank, 1, features)`, its result `y (batch, features)`. Backward, `g (batch, features)` comes
    last; the results are the gradients of `x`, of `U` (transposed) and of `V`, and room for the
    slots. The gradient of `x` is left out where it is not wanted.
    """
    dtype, n, r, m = kernel.compute, kernel.inputs, kernel.rank, kernel.features
    arguments = [Array(dtype, shape) for shape in ((BATCH, n), (r, n, 1), (r, 1, m))]
    if not kernel.backward:
        return Handler(
            name=kernel.name,
            compute=dtype,
            arguments=arguments,
            results=[Array(dtype, (BATCH, m))],
            flops=kernel.flops,
            cut=lambda code, batch, threads: (
                kernel.together,
                code.ceil_div(batch, kernel.together),
            ),
            unit=lambda *arguments: _forward(kernel, *arguments),
        )
    slots = kernel.slots
    of_x = [Array(dtype, (BATCH, n))] if kernel.of_samples else []
    return Handler(
        name=kernel.name,
        compute=dtype,
        arguments=[*arguments, Array(dtype, (BATCH, m))],
        results=[*of_x, *arguments[1:], Array(dtype, (slots, kernel.numbers))],
        flops=kernel.flops,
        cut=lambda code, batch, threads: (code.ceil_div(batch, slots), slots),
        unit=lambda *arguments: _backward(kernel, *arguments),
        finish=lambda code, arrays: _add_slots(kernel, code, arrays),
    )


def _blocks(
    kernel: ThinKernel,
    code: Code,
    first: Index,
    last: Index,
    write_block: Callable[[Index, int], None],
) -> None:
    """Writes blocks of samples, and one sample after the other of what is left."""
    s = kernel.together
    if s > 1:
        count = code.max(code.let(f"sub i64 {last}, {first}"), 0)
        whole = code.let(f"udiv i64 {count}, {s}")
        with code.loop(whole) as turn:
            write_block(code.add(first, code.mul(turn, s)), s)
        first = code.add(first, code.mul(whole, s))
    with code.loop(last, first) as sample:
        write_block(sample, 1)


def _spread(code: Code, sizes: tuple[int, int, int], a: Matrix, b: Matrix, c: Matrix) -> None:
    """Writes `C = A @ B` of a short inner side, a few rows after the other.

    Most of the work is writing the result: memory takes that best from few places at once.
    """
    m, n, k = sizes
    whole = m // _ROWS
    if whole:
        with code.loop(whole) as turn:
            first = code.mul(turn, _ROWS)
            rows = Matrix(code.at(a.pointer, code.mul(first, a.row)), a.row)
            goal = Matrix(code.at(c.pointer, code.mul(first, c.row)), c.row)
            multiply(code, (_ROWS, n, k), rows, b, goal, add=False)
    if m % _ROWS:
        rows = Matrix(code.at(a.pointer, whole * _ROWS * a.row), a.row)
        goal = Matrix(code.at(c.pointer, whole * _ROWS * c.row), c.row)
        multiply(code, (m % _ROWS, n, k), rows, b, goal, add=False)


def _forward(
    kernel: ThinKernel,
    code: Code,
    number: Value,
    batch: Value,
    per_unit: Value,
    arrays: list[Value],
) -> None:
    x, u_turned, v, y = arrays
    n, r, m = kernel.inputs, kernel.rank, kernel.features
    t = code.scratch(kernel.together * r)
    sums = code.scratch(kernel.together * r * code.lanes)

    def block(sample: Index, s: int) -> None:
        x_s = Matrix(code.at(x, code.mul(sample, n)), n)
        multiply_rows(code, (s, r, n), x_s, Matrix(u_turned, n), t, sums)
        y_s = Matrix(code.at(y, code.mul(sample, m)), m)
        _spread(code, (s, m, r), Matrix(t, r), Matrix(v, m), y_s)

    first = code.mul(number, per_unit)
    _blocks(kernel, code, first, code.min(code.add(first, per_unit), batch), block)


def _backward(
    kernel: ThinKernel, code: Code, slot: Value, batch: Value, per_slot: Value, arrays: list[Value]
) -> None:
    x, u_turned, v, g, *results = arrays
    of_x, room = results[0], results[-1]
    n, r, m = kernel.inputs, kernel.rank, kernel.features
    t, of_t = code.scratch(kernel.together * r), code.scratch(kernel.together * r)
    sums = code.scratch(kernel.together * r * code.lanes)
    of_u = code.at(room, code.mul(slot, kernel.numbers))
    of_v = code.at(of_u, r * n)
    code.zero(of_u, kernel.numbers)

    def block(sample: Index, s: int) -> None:
        x_s = Matrix(code.at(x, code.mul(sample, n)), n)
        g_s = Matrix(code.at(g, code.mul(sample, m)), m)
        turned_t, turned_of_t = Matrix(t, 1, r), Matrix(of_t, 1, r)
        multiply_rows(code, (s, r, m), g_s, Matrix(v, m), of_t, sums)
        multiply_rows(code, (s, r, n), x_s, Matrix(u_turned, n), t, sums)
        multiply(code, (r, m, s), turned_t, g_s, Matrix(of_v, m), add=True)
        multiply(code, (r, n, s), turned_of_t, x_s, Matrix(of_u, n), add=True)
        if kernel.of_samples:
            of_x_s = Matrix(code.at(of_x, code.mul(sample, n)), n)
            _spread(code, (s, n, r), Matrix(of_t, r), Matrix(u_turned, n), of_x_s)

    first = code.mul(slot, per_slot)
    _blocks(kernel, code, first, code.min(code.add(first, per_slot), batch), block)


def _add_slots(kernel: ThinKernel, code: Code, arrays: list[Value]) -> None:
    """Writes the gradients of both matrices: the sums of all slots, always in the same order."""
    of_u, of_v, room = arrays[-3:]
    if kernel.slots > 1:
        add_up(code, kernel.slots, room, room, kernel.numbers)
    size = kernel.rank * kernel.inputs
    code.copy(of_u, room, size * code.number_bytes)
    code.copy(of_v, code.at(room, size), kernel.rank * kernel.features * code.number_bytes)
