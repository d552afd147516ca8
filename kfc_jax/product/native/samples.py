"""Samples on their way in and out of a kernel: padded with zeros or cut, and of half precision."""

from __future__ import annotations

from collections.abc import Callable

from kfc_jax.product.native.builder import BYTES, Code, Index, Value


def read(code: Code, dtype: str, target: Value, source: Value, count: int, padded: int) -> None:
    """Copies `count` numbers of a type to numbers that are computed with, and zeros after them."""

    def piece(position: Index, lanes: int) -> None:
        place = _half_at(code, source, position)
        half = code.let(f"load <{lanes} x i16>, ptr {place}, align 2")
        number = _widened(code, half, lanes)
        code.do(f"store <{lanes} x float> {number}, ptr {code.at(target, position)}, align 4")

    if dtype == "bfloat16":
        _in_pieces(code, count, piece)
    else:
        code.copy(target, source, count * code.number_bytes)
    if padded > count:
        code.zero(code.at(target, count), padded - count)


def write(code: Code, dtype: str, target: Value, source: Value, count: int) -> None:
    """Copies `count` numbers that were computed with to numbers of a type, rounded to nearest."""

    def piece(position: Index, lanes: int) -> None:
        number = code.let(f"load <{lanes} x float>, ptr {code.at(source, position)}, align 4")
        half = _rounded(code, number, lanes)
        code.do(f"store <{lanes} x i16> {half}, ptr {_half_at(code, target, position)}, align 2")

    if dtype == "bfloat16":
        _in_pieces(code, count, piece)
    else:
        code.copy(target, source, count * code.number_bytes)


def _in_pieces(code: Code, count: int, piece: Callable[[Index, int], None]) -> None:
    """Writes a piece for every whole vector, and one for each number after them."""
    whole = count // code.lanes
    if whole:
        with code.loop(whole) as i:
            piece(code.mul(i, code.lanes), code.lanes)
    if whole * code.lanes < count:
        with code.loop(count, whole * code.lanes) as i:
            piece(i, 1)


def sample_at(code: Code, dtype: str, array: Value, number: Index, size: int) -> Value:
    """Returns the address of a sample of `size` numbers of a type."""
    return code.bytes_at(array, code.mul(number, size * BYTES[dtype]))


def _half_at(code: Code, pointer: Value, position: Index) -> Value:
    return code.bytes_at(pointer, code.mul(position, 2))


def _widened(code: Code, half: Value, lanes: int) -> Value:
    """Returns single precision: a bfloat16 is its upper half."""
    wide = code.let(f"zext <{lanes} x i16> {half} to <{lanes} x i32>")
    bits = code.let(f"shl <{lanes} x i32> {wide}, {_all(lanes, 16)}")
    return code.let(f"bitcast <{lanes} x i32> {bits} to <{lanes} x float>")


def _rounded(code: Code, number: Value, lanes: int) -> Value:
    """Returns the nearest bfloat16, the even one of two; of a NaN, a NaN."""
    ints = f"<{lanes} x i32>"
    bits = code.let(f"bitcast <{lanes} x float> {number} to {ints}")
    upper = code.let(f"lshr {ints} {bits}, {_all(lanes, 16)}")
    odd = code.let(f"and {ints} {upper}, {_all(lanes, 1)}")
    bias = code.let(f"add {ints} {odd}, {_all(lanes, 0x7FFF)}")
    up = code.let(f"add {ints} {bits}, {bias}")
    rounded = code.let(f"lshr {ints} {up}, {_all(lanes, 16)}")
    quiet = code.let(f"or {ints} {upper}, {_all(lanes, 0x40)}")
    is_nan = code.let(f"fcmp uno <{lanes} x float> {number}, {number}")
    chosen = code.let(f"select <{lanes} x i1> {is_nan}, {ints} {quiet}, {ints} {rounded}")
    return code.let(f"trunc {ints} {chosen} to <{lanes} x i16>")


def _all(lanes: int, value: int) -> str:
    return "<" + ", ".join([f"i32 {value}"] * lanes) + ">"
