"""Products of small matrices of known sizes, as tiles whose sums stay in registers.

A tile of the result is `rows` x `vectors` registers. For every number `k` of the inner side, each
of its vectors of `B` is loaded once, each of its numbers of `A` repeated over a register, and all
products are added by fused multiply-adds. The larger the tile, the fewer loads for an addition, as
far as there are registers.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools

from kfc_jax.product.native.builder import BYTES, Code, Index, Value
from kfc_jax.product.native.host import Host

_MOST_ADDITIONS = 224  # written out in one turn of a tile's loop
_LATENCY = 10.0  # additions that two units of a CPU have under way, 4 cycles each, and some slack


@dataclasses.dataclass(frozen=True)
class Matrix:
    """A matrix in memory.

    Attributes:
      pointer: its first number.
      row: numbers from a row to the next.
      column: numbers from a column to the next.
    """

    pointer: Value
    row: int
    column: int = 1


def multiply(
    code: Code, sizes: tuple[int, int, int], a: Matrix, b: Matrix, c: Matrix, *, add: bool
) -> None:
    """Writes `C = A @ B`, or `C += A @ B`, for `A: (m, k)`, `B: (k, n)`; rows of B and C are dense.

    Args:
      code: the function.
      sizes: `(m, n, k)`.
      a: left operand, of any strides.
      b: right operand, whose columns lie side by side.
      c: the result, likewise; it must not overlap the operands.
      add: whether to add to what is there.
    """
    m, n, k = sizes
    lanes = code.lanes
    row_parts, column_parts, _ = tiling(code.host.registers, m, -(-n // lanes), k)
    first = 0
    for width, count in column_parts:
        # The last tile of the last column may end within a vector.
        ends_within = (first + width * count) * lanes > n
        whole = count - ends_within
        if whole:
            with code.loop(whole) as turn:
                column = code.add(first * lanes, code.mul(turn, width * lanes))
                _rows(code, row_parts, [lanes] * width, k, a, b, c, column, add)
        if ends_within:
            column = (first + width * whole) * lanes
            widths = [min(lanes, n - column - v * lanes) for v in range(width)]
            _rows(code, row_parts, widths, k, a, b, c, column, add)
        first += width * count


def add_up(code: Code, count: int, source: Value, target: Value, size: int) -> None:
    """Writes the sum of `count` arrays of `size` numbers that lie one after the other."""
    lanes = code.lanes

    def piece(position: Index, width: int) -> None:
        sums = {"sum": code.load(code.at(source, position), width)}
        with code.loop(count, 1, carried=sums) as number:
            place = code.add(code.mul(number, size), position)
            sums["sum"] = code.sum(sums["sum"], code.load(code.at(source, place), width))
        code.store(sums["sum"], code.at(target, position), width)

    whole, rest = divmod(size, lanes)
    if whole:
        with code.loop(whole) as i:
            piece(code.mul(i, lanes), lanes)
    if rest:
        piece(whole * lanes, rest)


def half_cycles(sizes: tuple[int, int, int], host: Host, compute: str) -> float:
    """Returns the half cycles that a product of sizes `(m, n, k)` is expected to take on one core.

    It is a count for a CPU with two units that add and two that load, all in the nearest cache.
    """
    m, n, k = sizes
    lanes = host.vector_bytes // BYTES[compute]
    return k * tiling(host.registers, m, -(-n // lanes), k)[2]


def transpose(code: Code, rows: int, columns: int, source: Matrix, target: Value) -> None:
    """Writes the transpose of a matrix, `(columns, rows)` without gaps, by blocks of 4 x 4."""
    whole_rows, whole_columns = rows // 4, columns // 4
    if whole_rows and whole_columns:
        with code.loop(whole_rows) as i, code.loop(whole_columns) as j:
            origin = code.add(code.mul(i, 4 * source.row), code.mul(j, 4))
            block = [code.at(source.pointer, code.add(origin, r * source.row)) for r in range(4)]
            goal = code.add(code.mul(j, 4 * rows), code.mul(i, 4))
            _transpose_block(
                code, block, [code.at(target, code.add(goal, r * rows)) for r in range(4)]
            )
    edges = ((4 * whole_rows, rows, 0, columns), (0, 4 * whole_rows, 4 * whole_columns, columns))
    for first_row, last_row, first_column, last_column in edges:
        if first_row < last_row and first_column < last_column:
            with code.loop(last_row, first_row) as i, code.loop(last_column, first_column) as j:
                place = code.add(code.mul(i, source.row), j)
                number = code.let(f"load {code.number}, ptr {code.at(source.pointer, place)}")
                goal = code.at(target, code.add(code.mul(j, rows), i))
                code.do(f"store {code.number} {number}, ptr {goal}")


def _transpose_block(code: Code, sources: list[Value], targets: list[Value]) -> None:
    four = f"<4 x {code.number}>"
    rows = [code.let(f"load {four}, ptr {p}, align {code.number_bytes}") for p in sources]

    def shuffle(x: Value, y: Value, lanes: tuple[int, ...]) -> Value:
        mask = ", ".join(f"i32 {lane}" for lane in lanes)
        return code.let(f"shufflevector {four} {x}, {four} {y}, <4 x i32> <{mask}>")

    low = [shuffle(rows[0], rows[1], (0, 4, 1, 5)), shuffle(rows[2], rows[3], (0, 4, 1, 5))]
    high = [shuffle(rows[0], rows[1], (2, 6, 3, 7)), shuffle(rows[2], rows[3], (2, 6, 3, 7))]
    columns = [
        shuffle(*half, lanes) for half in (low, high) for lanes in ((0, 1, 4, 5), (2, 3, 6, 7))
    ]
    for column, target in zip(columns, targets, strict=True):
        code.do(f"store {four} {column}, ptr {target}, align {code.number_bytes}")


Runs = tuple[tuple[int, int], ...]
"""Sizes of tiles that lie one after the other: a size, and how many of it."""


def turns_at_once(turns: int, additions: int) -> int:
    """Returns how many turns of a tile's loop are written out in one; they divide all."""
    return next(
        u
        for u in (8, 7, 6, 5, 4, 3, 2, 1)
        if turns % u == 0 and (u == 1 or u * additions <= _MOST_ADDITIONS)
    )


@functools.cache
def tiling(registers: int, m: int, vectors: int, k: int) -> tuple[Runs, Runs, float]:
    """Returns runs of equal tile heights, and of widths, that cover a product, and their cost.

    The cost of a tile is counted in half cycles for one number of the inner side: additions, loads,
    or the latency of a chain of additions, whichever is most; and what loading and storing the sums
    adds, spread over the side.
    """
    best, answer = float("inf"), None
    for width, height in itertools.product(range(1, 7), range(1, 15)):
        # The sums, a row of B and one number of A must find registers.
        if width * height + width + 1 > registers or width > vectors or height > m:
            continue
        columns, rows = _parts(vectors, -(-vectors // width)), _parts(m, -(-m // height))
        cost = sum(
            count_w * count_h * (max(w * h, w + h, _LATENCY) + 4.0 * w * h / k)
            for w, count_w in columns
            for h, count_h in rows
        )
        if cost < best:
            best, answer = cost, (rows, columns)
    assert answer is not None  # a tile of one register fits everywhere
    return *answer, best


def _parts(total: int, count: int) -> Runs:
    """Splits a total into `count` parts of about equal size; returns (size, how many) of each."""
    base, more = divmod(total, count)
    return tuple((size, n) for size, n in ((base + 1, more), (base, count - more)) if n)


def _rows(
    code: Code,
    parts: Runs,
    widths: list[int],
    k: int,
    a: Matrix,
    b: Matrix,
    c: Matrix,
    column: Index,
    add: bool,
) -> None:
    """Writes the tiles that lie below each other in some columns of the result."""
    b_corner = code.at(b.pointer, column)
    first = 0
    for height, count in parts:
        with code.loop(count) as turn:
            row = code.add(first, code.mul(turn, height))
            a_corner = Matrix(code.at(a.pointer, code.mul(row, a.row)), a.row, a.column)
            c_corner = code.at(c.pointer, code.add(code.mul(row, c.row), column))
            _tile(code, height, widths, k, a_corner, b_corner, b.row, c_corner, c.row, add)
        first += height * count


def _tile(
    code: Code,
    height: int,
    widths: list[int],
    k: int,
    a: Matrix,
    b: Value,
    b_row: int,
    c: Value,
    c_row: int,
    add: bool,
) -> None:
    """Writes one tile: all its sums stay in registers over the whole inner side."""
    cells = [(i, j) for i in range(height) for j in range(len(widths))]

    def c_at(i: int, j: int) -> Value:
        return code.at(c, i * c_row + j * code.lanes)

    sums = {
        (i, j): code.load(c_at(i, j), widths[j]) if add else "zeroinitializer" for i, j in cells
    }
    unroll = turns_at_once(k, len(cells))
    with code.loop(k // unroll, carried=sums) as turn:
        a_k = code.at(a.pointer, code.mul(turn, unroll * a.column))
        b_k = code.at(b, code.mul(turn, unroll * b_row))
        for u in range(unroll):
            row = [
                code.load(code.at(b_k, u * b_row + j * code.lanes), w) for j, w in enumerate(widths)
            ]
            for i in range(height):
                number = code.repeat(code.at(a_k, u * a.column + i * a.row))
                for j, vector in enumerate(row):
                    sums[i, j] = code.fma(number, vector, sums[i, j])
    for i, j in cells:
        code.store(sums[i, j], c_at(i, j), widths[j])
