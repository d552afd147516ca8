"""Kernels read and write nothing but their arrays, wherever in memory these end."""

import signal

from tests.kfc_jax.product.native.processes import python, start

CASES = [
    "1:3x5*7x2 float32 3 left",
    "2:13x17*11x19 float32 5 right",
    "3:16x16*16x16 float32 64 left",  # several samples at once, whole vectors
    "3:16x15*17x16 bfloat16 64 right",
    "8:64x64*32x32 float32 1 left",  # several units share a sample
    "8:64x64*32x32 float32 1 right",
    "2:31x33*17x15@511x483 float32 7 left",  # padded
    "2:31x33*17x15@511x483 bfloat16 3 left",
    "2:31x33*17x15@511x483 float64 7 right",
    "1:1x97*89x1 float32 2 right",
    "1:100x1*1x100 float64 1 left",
    "4:4x8*8x4 float64 64 right",
    "97x3x61 float32 1 low_rank",
    "64x16x128 float32 64 low_rank",  # whole vectors and blocks
    "33x5x47 float32 70 low_rank",
    "1x1x1 float32 3 low_rank",
    "5000x7x9 float64 35 low_rank",  # rows in pieces
]


def test_kernels_stay_within_their_arrays():
    assert python("-m", "tests.kfc_jax.product.native.guarded", *CASES).endswith("all inside\n")


def test_narrow_kernels_stay_within_their_arrays():
    module = "tests.kfc_jax.product.native.guarded"
    output = python("-m", module, *CASES[1:10:3], *CASES[-3:], KFC_JAX_NATIVE="avx2")
    assert output.endswith("all inside\n")


def test_a_read_beyond_an_array_would_end_the_process():
    process = start("-m", "tests.kfc_jax.product.native.guarded", "beyond")
    output, _ = process.communicate(timeout=120)
    assert process.returncode in (-signal.SIGSEGV, -signal.SIGBUS), output
