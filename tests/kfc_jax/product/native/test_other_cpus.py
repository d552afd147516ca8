"""Code for CPUs that are not at hand: it is valid, and uses their registers; it is not run."""

import dataclasses
import re

import pytest

from kfc_jax.product import native

if native.unavailable():
    pytest.skip(native.unavailable(), allow_module_level=True)

from llvmlite import binding

from kfc_jax.product.native.backward import backward_handler
from kfc_jax.product.native.forward import forward_handler
from kfc_jax.product.native.handler import handler_ir
from kfc_jax.product.native.kernels import make_kernel
from kfc_jax.product.native.low_rank import ThinKernel, thin_handler

NEON = native.Host(16, 32, "generic", "+neon", is_arm=True)
AVX2 = native.Host(32, 16, "haswell", "")
AVX512 = native.Host(64, 32, "skylake-avx512", "")
TRIPLES = {NEON: "aarch64-unknown-linux-gnu", AVX2: "x86_64-unknown-linux-gnu"}
TRIPLES[AVX512] = TRIPLES[AVX2]
SAMPLES = [("float32", False), ("float32", True), ("bfloat16", True), ("float64", False)]


def ir_of(host, dtype="float32", *, backward=False, left_first=True):
    pair = (13, 17), (11, 19)
    sizes = 141, 320  # both padded
    kernel = make_kernel(pair, 2, *sizes, dtype, 32, backward=backward, left_first=left_first)
    assert kernel
    return handler_ir(backward_handler(kernel, 4) if backward else forward_handler(kernel), host)


@pytest.mark.parametrize("host", TRIPLES, ids=["neon", "avx2", "avx512"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backward", [False, True])
def test_the_code_of_two_thin_matrices_is_valid(host, dtype, backward):
    kernel = ThinKernel(141, 5, 320, dtype, 33, backward)
    binding.parse_assembly(handler_ir(thin_handler(kernel), host)).verify()


def target_of(host):
    """Returns the target of a CPU; None if this LLVM has none for it."""
    for name in ("initialize_all_targets", "initialize_all_asmprinters"):
        getattr(binding, name)()
    try:
        target = binding.Target.from_triple(TRIPLES[host])
    except RuntimeError:
        return None
    return target.create_target_machine(cpu=host.cpu, features=host.features, opt=3)


@pytest.mark.parametrize("host", TRIPLES, ids=["neon", "avx2", "avx512"])
@pytest.mark.parametrize(("dtype", "backward"), SAMPLES)
@pytest.mark.parametrize("left_first", [True, False])
def test_the_code_is_valid(host, dtype, backward, left_first):
    text = ir_of(host, dtype, backward=backward, left_first=left_first)
    binding.parse_assembly(text).verify()
    lanes = host.vector_bytes // (8 if dtype == "float64" else 4)
    assert set(re.findall(r"@llvm\.fma\.v(\d+)f", text)) == {str(lanes)}
    assert ("llvm.aarch64" in text) == host.is_arm
    assert ("llvm.x86" in text) != host.is_arm


@pytest.mark.parametrize(
    ("host", "has", "lacks"),
    [
        (NEON, r"\bfmla\s+v\d+\.4s", r"%[xyz]mm"),
        (AVX2, r"vfmadd\w+ps\s.*%ymm", r"%zmm"),
        (AVX512, r"vfmadd\w+ps\s.*%zmm", r"\bfmla\b"),
    ],
    ids=["neon", "avx2", "avx512"],
)
def test_the_assembly_computes_in_the_widest_registers(host, has, lacks):
    machine = target_of(host)
    if machine is None:
        # Wheels of llvmlite know the CPUs that they are built for; the code was parsed above.
        assert host.is_arm or binding.get_process_triple().startswith(("aarch64", "arm64"))
        return
    module = binding.parse_assembly(ir_of(host, backward=True))
    module.triple = TRIPLES[host]
    text = machine.emit_assembly(module)
    assert re.search(has, text)
    assert not re.search(lacks, text)


def test_tiles_fit_the_registers():
    from kfc_jax.product.native.tiles import tiling

    for host in (NEON, AVX2, AVX512):
        for m, vectors, k in ((64, 16, 64), (13, 5, 17), (1, 1, 1), (100, 7, 3)):
            rows, columns, _ = tiling(host.registers, m, vectors, k)
            assert sum(size * count for size, count in rows) == m
            assert sum(size * count for size, count in columns) == vectors
            height, width = max(size for size, _ in rows), max(size for size, _ in columns)
            assert height * width + width + 1 <= host.registers


def test_a_kernel_depends_on_nothing_but_the_width_and_the_registers():
    other = dataclasses.replace(AVX512, cpu="znver4", features="+avx512f")
    assert ir_of(AVX512) == ir_of(other)
    assert ir_of(AVX512) != ir_of(AVX2)
