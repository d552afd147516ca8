"""Runs a kernel on arrays that lie against pages which nobody may touch; a fault ends the process.

Arguments are read-only. Every array lies in three ways: it ends where its memory ends, so that its
start is aligned to nothing but its numbers; it begins where its memory begins; and it is one number
away from its memory's end, so that nothing is aligned to a vector. What lies around it is compared
afterwards.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import sys

import jax.numpy as jnp
import numpy as np

from kfc_jax import KroneckerStructure
from kfc_jax.product.native.backward import backward_handler
from kfc_jax.product.native.forming import (
    Former,
    forming_handler,
    left_gradient_handler,
    right_gradient_handler,
)
from kfc_jax.product.native.forward import forward_handler
from kfc_jax.product.native.handler import Handler
from kfc_jax.product.native.kernels import make_kernel
from kfc_jax.product.native.low_rank import ThinKernel, thin_handler
from tests.kfc_jax.product.native.cases import fill, relative_errors, tolerance
from tests.kfc_jax.product.native.frames import Buffer, Caller, compiled

WAYS = ("ends", "begins", "unaligned")
_FILL = 0xA5
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_NONE, _READ, _READ_WRITE = 0, mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE


class Guarded:
    """Memory between two pages that nobody may touch."""

    def __init__(self, array: np.ndarray, way: str, *, is_result: bool) -> None:
        size, page = array.nbytes, mmap.PAGESIZE
        room = -(-(size + 64) // page) * page
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        base = _libc.mmap(None, room + 2 * page, _READ_WRITE, flags, -1, 0)
        assert base not in (None, ctypes.c_void_p(-1).value)
        start = {"ends": room - size, "begins": 0, "unaligned": room - size - array.itemsize}[way]
        self._memory = np.frombuffer((ctypes.c_uint8 * room).from_address(base + page), np.uint8)
        self._memory[:] = _FILL
        self._around = np.ones(room, bool)
        self._around[start : start + size] = False
        self.array = self._memory[start : start + size].view(array.dtype).reshape(array.shape)
        self.array[...] = array
        for place, count, access in (
            (base, page, _NONE),
            (base + page, room, _READ_WRITE if is_result else _READ),
            (base + page + room, page, _NONE),
        ):
            assert _libc.mprotect(place, count, access) == 0
        self.buffer = Buffer(array.dtype.name, array.shape, base + page + start)

    def check(self) -> None:
        assert (self._memory[self._around] == _FILL).all(), "something was written around an array"


def run(text: str, dtype: str, batch: int, *, left_first: bool) -> None:
    """Runs all kernels of a structure of one term, in every way."""
    structure = KroneckerStructure.parse(text)
    case = fill(np.random.default_rng(0), structure, dtype, batch)
    (term,), ((a, b),) = structure.terms, case.factors
    kernels = [
        make_kernel(
            term.shapes,
            term.rank,
            structure.inputs,
            structure.features,
            dtype,
            batch,
            backward=backward,
            left_first=left_first,
        )
        for backward in (False, True)
    ]
    assert all(kernels), "no kernel"
    of_samples, of_factors = (np.dtype(jnp.dtype(t)) for t in (dtype, kernels[0].compute))
    x, g = (array.astype(of_samples) for array in (case.x, case.g))
    a, b = (array.astype(of_factors) for array in (a, b))
    forward = forward_handler(kernels[0])
    backward = backward_handler(kernels[1], kernels[1].slots(batch))
    b_turned = np.ascontiguousarray(b.transpose(0, 2, 1))
    for way in WAYS:
        (y,) = call(forward, [x, a, b], batch, way)
        of_x, of_a, of_b, _ = call(backward, [x, a, b, b_turned, g], batch, way)
        errors = relative_errors(case, [y, of_x, of_a, of_b])
        assert max(errors) <= tolerance(case), f"{case}, {way}: {errors}"
        check_forming(a, b, way)


def check_forming(a: np.ndarray, b: np.ndarray, way: str) -> None:
    """Forms the kernel of two factors, and takes its gradient back to them."""
    (rank, n1, m1), (_, n2, m2) = a.shape, b.shape
    former = Former(((n1, m1), (n2, m2)), rank, a.dtype.name)
    of_kernel = np.random.default_rng(1).standard_normal((n1, n2, m1, m2)).astype(a.dtype)
    rows = np.ascontiguousarray(a.transpose(1, 0, 2))
    turned = np.ascontiguousarray(b.transpose(1, 2, 0))
    (kernel,) = call(forming_handler(former), [rows, b], n1, way)
    (of_a,) = call(left_gradient_handler(former), [of_kernel, turned], n1, way)
    (of_b,) = call(right_gradient_handler(former), [of_kernel, rows], n2, way)
    wide_a, wide_b, wide = (array.astype(np.float64) for array in (a, b, of_kernel))
    for found, formula, operands in (
        (kernel, "rip,rjq->ijpq", (wide_a, wide_b)),
        (of_a, "ijpq,rjq->ipr", (wide, wide_b)),
        (of_b, "ijpq,rip->jrq", (wide, wide_a)),
    ):
        expected = np.einsum(formula, *operands)
        added = np.einsum(formula, *map(np.abs, operands))
        error = np.max(np.abs(found - expected) / added)
        assert error <= 8 * np.finfo(a.dtype).eps, f"{former}, {way}: {error}"


def run_low_rank(sizes: tuple[int, int, int], dtype: str, batch: int) -> None:
    """Runs the kernels of two thin matrices, in every way."""
    n, r, m = sizes
    rng = np.random.default_rng(0)
    shapes = ((batch, n), (r, n), (r, m), (batch, m))
    x, u_turned, v, g = (rng.standard_normal(shape).astype(dtype) for shape in shapes)

    def maths(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        x, u_turned, v, g = (array.astype(np.float64) for array in arrays)
        t, of_t = x @ u_turned.T, g @ v.T
        return t @ v, of_t @ u_turned, of_t.T @ x, t.T @ g

    expected, added = maths(x, u_turned, v, g), maths(*map(np.abs, (x, u_turned, v, g)))
    for way in WAYS:
        kernel = ThinKernel(n, r, m, dtype, batch)
        factors = [u_turned.reshape(r, n, 1), v.reshape(r, 1, m)]
        found = call(thin_handler(kernel), [x, *factors], batch, way)
        for of_samples in (True, False):
            kernel = ThinKernel(n, r, m, dtype, batch, backward=True, of_samples=of_samples)
            *gradients, _ = call(thin_handler(kernel), [x, *factors, g], batch, way)
            wanted = (0, 1, 2, 3) if of_samples else (0, 2, 3)
            for which, result in zip(wanted, [*found, *gradients], strict=True):
                result = result.reshape(expected[which].shape)
                error = np.max(np.abs(result - expected[which]) / added[which])
                assert error <= 8 * np.finfo(dtype).eps, f"{kernel}, {way}, {which}: {error}"


def call(handler: Handler, arrays: list[np.ndarray], samples: int, way: str) -> list[np.ndarray]:
    """Returns the results of a handler, all arrays being guarded."""
    read = [Guarded(array, way, is_result=False) for array in arrays]
    written = []
    for result in handler.results:
        shape = [samples if size == -1 else size for size in result.shape]
        filled = np.full(shape, 7.0).astype(jnp.dtype(result.dtype))
        written.append(Guarded(filled, way, is_result=True))
    caller = Caller(threads=3, schedule=lambda task: task() or True)
    error = caller.call(compiled(handler), [r.buffer for r in read], [w.buffer for w in written])
    assert not error, error
    for guarded in (*read, *written):
        guarded.check()
    return [w.array for w in written]


def run_beyond() -> None:
    """Hands a kernel an array that is one sample too short: the process must not survive it."""
    kernel = make_kernel(((3, 5), (7, 2)), 1, 21, 10, "float32", 4, backward=False, left_first=True)
    assert kernel
    handler = forward_handler(kernel)
    shapes = [(3, 21), (1, 3, 5), (1, 7, 2), (4, 10)]
    arrays = [
        Guarded(np.zeros(shape, np.float32), "ends", is_result=shape == (4, 10)) for shape in shapes
    ]
    arrays[0].buffer.shape = (4, 21)
    *read, written = [array.buffer for array in arrays]
    Caller().call(compiled(handler), read, [written])


if __name__ == "__main__":
    if sys.argv[1] == "beyond":
        run_beyond()
        print("survived")
        sys.exit()
    faulthandler.enable()
    for line in sys.argv[1:]:
        print(line, flush=True)  # the last one is that of a fault
        text, dtype, batch, side = line.split()
        if side == "low_rank":
            n, r, m = map(int, text.split("x"))
            run_low_rank((n, r, m), dtype, int(batch))
        else:
            run(text, dtype, int(batch), left_first=side == "left")
    print("all inside")
