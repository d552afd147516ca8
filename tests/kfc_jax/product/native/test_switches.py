"""Where there are no native kernels, XLA's programs do the work, and one line of log says why."""

import logging
import platform

import jax
import jax.numpy as jnp
import jaxlib.version
import numpy as np
import pytest

from kfc_jax import KroneckerStructure, explain, kronecker_matmul
from kfc_jax.product import native
from kfc_jax.product.native import host as hosts
from tests.kfc_jax.product.native.processes import python
from tests.kfc_jax.reference import dense_kernel, random_factors

PROCESS = """
import logging, sys
{before}
logging.basicConfig(level=logging.INFO, format="LOG %(name)s %(message)s", stream=sys.stdout)
logging.getLogger("jax").setLevel(logging.WARNING)
import jax, numpy as np
from kfc_jax import explain, kronecker_matmul
from kfc_jax.product import native

rng = np.random.default_rng(0)
x, a, b, g = (
    rng.standard_normal(s).astype(np.float32) for s in [(40, 143), (2, 13, 7), (2, 11, 5), (40, 35)]
)
kernel = sum(np.kron(a[r].astype(float), b[r].astype(float)) for r in range(2))
for strategy in ("auto", "native"):
    def both(x):
        y, transpose = jax.vjp(lambda x: kronecker_matmul(x, [(a, b)], strategy=strategy), x)
        return y, transpose(g)[0]
    lowered = jax.jit(both).lower(x)
    for result, wanted in zip(lowered.compile()(x), (x @ kernel, g @ kernel.T), strict=True):
        np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-4)
print("kernels:", lowered.as_text().count("@kfc_"))
print("shown:", "native" in str(explain("2:13x7*11x5", 40, "cpu", strategy="native")))
{after}
"""
BLOCKED = """
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "llvmlite":
            raise ImportError(name)
sys.meta_path.insert(0, Blocker())
"""
NARROW = """
from kfc_jax.product.native import compiler, forward, handler
host = native.host_of("cpu")
kernel = native.make_kernel(
    ((13, 7), (11, 33)), 2, 143, 231, "float32", 4, backward=False, left_first=True
)
text = compiler.assembly(handler.handler_ir(forward.forward_handler(kernel), host), host)
print("bytes:", host.vector_bytes, "zmm:", "zmm" in text, "ymm:", "ymm" in text)
"""


def lines_of(output, beginning):
    return [line for line in output.splitlines() if line.startswith(beginning)]


@pytest.mark.parametrize(
    ("before", "environment", "reason"),
    [
        ("", {"KFC_JAX_NATIVE": "0"}, "KFC_JAX_NATIVE is '0'"),
        ("", {"KFC_JAX_NATIVE": "nonsense"}, "KFC_JAX_NATIVE is 'nonsense'; take 0, 1 or avx2"),
        (BLOCKED, {}, "llvmlite is not installed (pip install 'kfc-jax[native]')"),
    ],
    ids=["off", "nonsense", "without llvmlite"],
)
def test_xlas_programs_do_the_work_with_one_line_of_log(before, environment, reason):
    output = python("-W", "error", "-c", PROCESS.format(before=before, after=""), **environment)
    assert lines_of(output, "LOG kfc_jax") == [
        "LOG kfc_jax.product.native.host Products on CPUs are done by XLA's programs, not by "
        f"native kernels: {reason}."
    ]
    assert lines_of(output, "kernels:") == ["kernels: 0"]
    assert lines_of(output, "shown:") == ["shown: False"]


@pytest.mark.skipif(bool(native.unavailable()), reason=native.unavailable())
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="x86-64 alone has AVX2")
def test_narrower_kernels_are_right_and_have_narrow_registers_alone():
    code = PROCESS.format(before="", after=NARROW)
    output = python("-W", "error", "-c", code, KFC_JAX_NATIVE="avx2")
    assert lines_of(output, "LOG kfc_jax") == []
    assert lines_of(output, "kernels:") == ["kernels: 2"]
    assert lines_of(output, "bytes:") == ["bytes: 32 zmm: False ymm: True"]


@pytest.fixture
def forgotten():
    """What is known of the CPU is found out anew, before and after."""
    hosts.unavailable.cache_clear(), hosts.host.cache_clear()
    yield
    hosts.unavailable.cache_clear(), hosts.host.cache_clear()


def set_llvmlite_version(monkeypatch, version):
    monkeypatch.setattr("llvmlite.__version__", version)


def set_jaxlib_version(monkeypatch, *version):
    monkeypatch.setattr(jaxlib.version, "__version_info__", version)
    monkeypatch.setattr(jaxlib.version, "__version__", ".".join(map(str, version)))


def set_machine(monkeypatch, name):
    monkeypatch.setattr(platform, "machine", lambda: name)


def set_features(monkeypatch, **features):
    from llvmlite import binding

    class Features(dict):
        def flatten(self):
            return ",".join(f"{'+' if value else '-'}{name}" for name, value in self.items())

    monkeypatch.setattr(binding, "get_host_cpu_features", lambda: Features(features))
    set_machine(monkeypatch, "x86_64")


@pytest.mark.parametrize(("value", "level"), [("0", "INFO"), ("AVX2", "WARNING")])
def test_only_what_was_asked_for_is_said_quietly(value, level, forgotten, monkeypatch, caplog):
    monkeypatch.setenv(native.SWITCH, value)
    with caplog.at_level(logging.INFO, "kfc_jax"):
        assert native.unavailable()
    assert [record.levelname for record in caplog.records] == [level]


def test_an_empty_switch_is_none(forgotten, monkeypatch):
    monkeypatch.setenv(native.SWITCH, "")
    assert not native.unavailable()


UNFIT = {
    "an old llvmlite": (lambda m: set_llvmlite_version(m, "0.44.0"), "llvmlite 0.44.0 is too old"),
    "an old jaxlib": (lambda m: set_jaxlib_version(m, 0, 7, 2), "jaxlib 0.7.2 was never tried"),
    "a new jaxlib": (lambda m: set_jaxlib_version(m, 0, 13, 0), "jaxlib 0.13.0 was never tried"),
    "jaxlib 1": (lambda m: set_jaxlib_version(m, 1, 9, 0), "jaxlib 1.9.0 was never tried"),
    "a machine": (lambda m: set_machine(m, "riscv64"), "there are no kernels for riscv64"),
    "an old cpu": (lambda m: set_features(m, sse2=True), "has neither AVX2 with FMA nor NEON"),
    "no fma": (lambda m: set_features(m, avx2=True, fma=False), "has neither AVX2 with FMA"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_is_unfit_is_said_once_and_xla_does_the_work(name, forgotten, monkeypatch, caplog):
    change, reason = UNFIT[name]
    change(monkeypatch)
    # Shapes of its own: a trace of the same ones may be left from before.
    structure = KroneckerStructure.parse(f"2:{5 + list(UNFIT).index(name)}x3*7x4")
    factors = random_factors(structure)
    x = np.random.default_rng(1).standard_normal((9, structure.inputs))
    with caplog.at_level(logging.INFO, "kfc_jax"):
        text = str(explain(structure, 9, "cpu", strategy="native"))
        y = kronecker_matmul(x, factors, strategy="native")
        jax.grad(lambda x: kronecker_matmul(x, factors, strategy="native").sum())(jnp.asarray(x))
    (record,) = caplog.records
    assert reason in record.getMessage()
    assert "native" not in text
    np.testing.assert_allclose(y, x @ dense_kernel(structure, factors), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("version", ["0.45.0", "0.50.0", "0.45.1rc1", "1.0.0", "0.46.0.dev3+g1"])
def test_newer_versions_of_llvmlite_are_taken(version, forgotten, monkeypatch):
    expected = native.unavailable()
    hosts.unavailable.cache_clear()
    set_llvmlite_version(monkeypatch, version)
    assert native.unavailable() == expected


def test_widths_by_features(forgotten, monkeypatch):
    monkeypatch.delenv(native.SWITCH, raising=False)
    every = {"avx2": True, "fma": True, "avx512f": True, "avx512vl": True, "avx512bw": True}
    set_features(monkeypatch, **every)
    assert (hosts.host().vector_bytes, hosts.host().registers) == (64, 32)
    hosts.host.cache_clear()
    monkeypatch.setenv(native.SWITCH, "avx2")
    assert hosts.host().vector_bytes == 32
    assert hosts.host().features == "+avx2,+fma,-avx512f,-avx512vl,-avx512bw"
    hosts.host.cache_clear()
    monkeypatch.delenv(native.SWITCH)
    set_features(monkeypatch, **{**every, "avx512vl": False})
    assert (hosts.host().vector_bytes, hosts.host().registers) == (32, 16)
    hosts.host.cache_clear()
    set_machine(monkeypatch, "aarch64")
    assert (hosts.host().vector_bytes, hosts.host().registers) == (16, 32)
    assert hosts.host().is_arm
