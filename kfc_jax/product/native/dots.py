"""Products of rows with rows, `C = A @ B.T`: of long rows, so that no vector has lanes to spare.

A tile is some rows of `A` against some of `B`; each pair has a vector of partial sums in a
register, whose lanes are added at the very end. Rows are taken in pieces that stay in the nearest
cache while all rows of `B` pass; from one piece to the next the partial sums wait in memory.
"""

from __future__ import annotations

from kfc_jax.product.native.builder import Code, Index, Value
from kfc_jax.product.native.tiles import Matrix, tiling, turns_at_once

_PIECE_BYTES = 24 * 1024  # of all rows of A: in a cache of 32 KiB with room beside them


def multiply_rows(
    code: Code, sizes: tuple[int, int, int], a: Matrix, b: Matrix, c: Value, sums: Value
) -> None:
    """Writes `C = A @ B.T` for `A: (m, k)`, `B: (n, k)`, whose rows are dense.

    Args:
      code: the function.
      sizes: `(m, n, k)`.
      a: left operand.
      b: right operand.
      c: the result, `(m, n)` without gaps.
      sums: room for `m n` vectors.
    """
    m, n, k = sizes
    lanes = code.lanes
    most = max(1, _PIECE_BYTES // (m * lanes * code.number_bytes))
    vectors, rest = divmod(k, lanes)
    pieces, last = divmod(vectors, most)
    code.zero(sums, m * n * lanes)
    product = _Product(code, (m, n), a, b, sums)
    if pieces:
        with code.loop(pieces) as turn:
            product.add_piece(code.mul(turn, most * lanes), most, lanes)
    if last:
        product.add_piece(pieces * most * lanes, last, lanes)
    if rest:
        product.add_piece(vectors * lanes, 1, rest)
    with code.loop(m * n) as i:
        vector = code.load(code.at(sums, code.mul(i, lanes)), lanes)
        code.do(f"store {code.number} {code.sum_of_lanes(vector)}, ptr {code.at(c, i)}")


class _Product:
    """A product that is written piece by piece."""

    def __init__(
        self, code: Code, sizes: tuple[int, int], a: Matrix, b: Matrix, sums: Value
    ) -> None:
        self._code, self._a, self._b, self._sums = code, a, b, sums
        self._m, self._n = sizes

    def add_piece(self, start: Index, vectors: int, width: int) -> None:
        """Adds some vectors of every row, from a number on, each of `width` lanes."""
        code = self._code
        heights, widths, _ = tiling(code.host.registers, self._m, self._n, vectors)
        first = 0
        for w, count_w in widths:
            with code.loop(count_w) as turn:
                column = code.add(first, code.mul(turn, w))
                b = code.at(self._b.pointer, code.add(start, code.mul(column, self._b.row)))
                above = 0
                for h, count_h in heights:
                    with code.loop(count_h) as turn_h:
                        row = code.add(above, code.mul(turn_h, h))
                        a = code.at(self._a.pointer, code.add(start, code.mul(row, self._a.row)))
                        place = code.add(code.mul(row, self._n), column)
                        sums = code.at(self._sums, code.mul(place, code.lanes))
                        self._tile(h, w, a, b, sums, vectors, width)
                    above += h * count_h
            first += w * count_w

    def _tile(
        self, height: int, breadth: int, a: Value, b: Value, sums: Value, vectors: int, width: int
    ) -> None:
        """Writes one tile of one piece."""
        code, lanes = self._code, self._code.lanes
        places = {
            (i, j): code.at(sums, (i * self._n + j) * lanes)
            for i in range(height)
            for j in range(breadth)
        }
        carried = {cell: code.load(place, lanes) for cell, place in places.items()}
        unroll = turns_at_once(vectors, len(carried))
        with code.loop(vectors // unroll, carried=carried) as turn:
            step = code.mul(turn, unroll * lanes)
            a_k, b_k = code.at(a, step), code.at(b, step)
            for u in range(unroll):
                rows = [
                    code.load(code.at(b_k, j * self._b.row + u * lanes), width)
                    for j in range(breadth)
                ]
                for i in range(height):
                    left = code.load(code.at(a_k, i * self._a.row + u * lanes), width)
                    for j, right in enumerate(rows):
                        carried[i, j] = code.fma(left, right, carried[i, j])
        for cell, place in places.items():
            code.store(carried[cell], place, lanes)
