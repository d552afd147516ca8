"""The forward kernel: samples in, factors in, results out; what is between stays on the stack."""

from __future__ import annotations

from kfc_jax.product.native.builder import Code, Index, Value
from kfc_jax.product.native.handler import BATCH, Array, Handler
from kfc_jax.product.native.kernels import Kernel
from kfc_jax.product.native.samples import read, sample_at, write
from kfc_jax.product.native.tiles import Matrix, multiply

_FLOPS_OF_A_UNIT = 2_000_000  # enough that taking it from the counter costs nothing


def forward_handler(kernel: Kernel) -> Handler:
    """Returns the handler: `x (batch, inputs)`, `A (r, n1, m1)`, `B (r, n2, m2)` to `y`."""
    a, b = ((kernel.rank, n, m) for n, m in kernel.pair)
    return Handler(
        name=kernel.name,
        compute=kernel.compute,
        arguments=[
            Array(kernel.dtype, (BATCH, kernel.inputs)),
            Array(kernel.compute, a),
            Array(kernel.compute, b),
        ],
        results=[Array(kernel.dtype, (BATCH, kernel.features))],
        flops=kernel.flops,
        cut=lambda code, batch, threads: _cut(kernel, code, batch, threads),
        unit=lambda *arguments: _unit(kernel, *arguments),
    )


def _cut(kernel: Kernel, code: Code, batch: Value, threads: Value) -> tuple[Index, Index]:
    """Units of some samples: so large that they are worth it, so many that threads end together."""
    largest = max(1, _FLOPS_OF_A_UNIT // kernel.flops)
    share = code.let(f"udiv i64 {batch}, {code.mul(threads, 4)}")
    per_unit = code.max(code.min(share, largest), 1)
    return per_unit, code.mul(code.ceil_div(batch, per_unit), kernel.parts)


def _unit(
    kernel: Kernel, code: Code, number: Value, batch: Value, per_unit: Value, arrays: list[Value]
) -> None:
    x, a, b, y = arrays
    (n1, m1), (n2, m2) = kernel.pair
    state_numbers = (m1 * n2 if kernel.left_first else n1 * m2) // kernel.parts
    state = code.scratch(state_numbers)
    padded_x = code.scratch(n1 * n2) if kernel.copies_inputs else None
    padded_y = code.scratch(m1 * m2) if kernel.copies_features else None
    group, part = number, 0
    if kernel.parts > 1:
        group = code.let(f"udiv i64 {number}, {kernel.parts}")
        part = code.let(f"urem i64 {number}, {kernel.parts}")
    first = code.mul(group, per_unit)
    with code.loop(code.min(code.add(first, per_unit), batch), first) as sample:
        source = sample_at(code, kernel.dtype, x, sample, kernel.inputs)
        target = sample_at(code, kernel.dtype, y, sample, kernel.features)
        if padded_x:
            read(code, kernel.dtype, padded_x, source, kernel.inputs, n1 * n2)
        _sample(kernel, code, padded_x or source, a, b, padded_y or target, state, part)
        if padded_y:
            write(code, kernel.dtype, target, padded_y, kernel.features)


def _sample(
    kernel: Kernel, code: Code, x: Value, a: Value, b: Value, y: Value, state: Value, part: Index
) -> None:
    """Writes one sample's result, or one part of its rows (A first) or columns (B first)."""
    (n1, m1), (n2, m2) = kernel.pair
    sums = kernel.rank > 1
    if kernel.left_first:
        rows = m1 // kernel.parts
        y = code.at(y, code.mul(part, rows * m2))
        a = code.at(a, code.mul(part, rows))
        if sums:
            code.zero(y, rows * m2)
    else:
        columns = m2 // kernel.parts
        y = code.at(y, code.mul(part, columns))
        b = code.at(b, code.mul(part, columns))
        if sums:
            with code.loop(m1 if kernel.parts > 1 else 1) as row:
                code.zero(code.at(y, code.mul(row, m2)), columns if kernel.parts > 1 else m1 * m2)
    with code.loop(kernel.rank) as k:
        a_k, b_k = code.at(a, code.mul(k, n1 * m1)), code.at(b, code.mul(k, n2 * m2))
        turned = Matrix(a_k, row=1, column=m1)
        if kernel.left_first:
            t = Matrix(state, n2)
            multiply(code, (rows, n2, n1), turned, Matrix(x, n2), t, add=False)
            multiply(code, (rows, m2, n2), t, Matrix(b_k, m2), Matrix(y, m2), add=sums)
        else:
            t = Matrix(state, columns)
            multiply(code, (n1, columns, n2), Matrix(x, n2), Matrix(b_k, m2), t, add=False)
            multiply(code, (m1, columns, n1), turned, t, Matrix(y, m2), add=sums)
