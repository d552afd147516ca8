"""The CPU that kernels are made for: its vectors, its registers, and whether kernels can be made.

LLVM comes in the wheel of `llvmlite`; no compiler is needed. Where it is missing or unfit, or the
CPU or XLA's foreign function interface is not one that is known, `unavailable` says why, and
products are done by XLA's programs.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import platform

SWITCH = "KFC_JAX_NATIVE"
"""The environment variable that turns native kernels off, or makes them narrower: `0`, `avx2`."""

_OFF, _AVX2 = "0", "avx2"
_MIN_LLVMLITE = (0, 45)  # earlier ones do not read pointers without a type
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Host:
    """What a kernel's code depends on.

    Attributes:
      vector_bytes: bytes of a vector register: 64 (AVX-512), 32 (AVX2) or 16 (NEON).
      registers: number of vector registers.
      cpu: LLVM's name of the CPU.
      features: LLVM's list of its features, as text.
      is_arm: whether it is a 64-bit Arm CPU, otherwise x86-64.
    """

    vector_bytes: int
    registers: int
    cpu: str
    features: str
    is_arm: bool = False


@functools.cache
def unavailable() -> str:
    """Returns why no native kernel can be made here; empty if they can.

    The reason is logged once, as a warning unless they were turned off, so that a slow product is
    never a riddle.
    """
    reason = _reason()
    if reason:
        level = logging.INFO if os.environ.get(SWITCH) == _OFF else logging.WARNING
        message = "Products on CPUs are done by XLA's programs, not by native kernels: %s."
        _log.log(level, message, reason)
    return reason


def host_of(platform: str) -> Host | None:
    """Returns the CPU that kernels of a platform are made for; None if there are none."""
    return None if platform != "cpu" or unavailable() else host()


@functools.cache
def host() -> Host:
    """Returns what this machine's CPU offers, or as much of it as `KFC_JAX_NATIVE` allows.

    Raises:
      RuntimeError: if no kernel can be made for it.
    """
    from llvmlite import binding

    features = dict(binding.get_host_cpu_features())
    cpu, text = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    if platform.machine() in ("arm64", "aarch64"):
        return Host(16, 32, cpu, text, is_arm=True)
    if features.get("avx512f") and features.get("avx512vl"):
        if os.environ.get(SWITCH) != _AVX2:
            return Host(64, 32, cpu, text)
        text = ",".join(f"-{name[1:]}" if "avx512" in name else name for name in text.split(","))
    if features.get("avx2") and features.get("fma"):
        return Host(32, 16, cpu, text)
    raise RuntimeError(f"the CPU ({cpu}) has neither AVX2 with FMA nor NEON")


def _reason() -> str:
    switch = os.environ.get(SWITCH) or "1"
    if switch not in ("1", _AVX2):
        return f"{SWITCH} is {switch!r}" + ("" if switch == _OFF else f"; take 0, 1 or {_AVX2}")
    try:
        import llvmlite
    except ImportError:
        return "llvmlite is not installed (pip install 'kfc-jax[native]')"
    version = tuple(int(part) for part in llvmlite.__version__.split(".")[:2] if part.isdigit())
    if version < _MIN_LLVMLITE:
        return f"llvmlite {llvmlite.__version__} is too old; 0.45 or newer is needed"
    if platform.machine() not in ("x86_64", "AMD64", "arm64", "aarch64"):
        return f"there are no kernels for {platform.machine()}"
    try:
        host()
    except (RuntimeError, OSError) as error:
        return str(error)
    from kfc_jax.product.native.ffi import unfit_version

    return unfit_version()
