"""The machine that is measured: what it is, and the most that it does."""

from __future__ import annotations

import dataclasses
import functools
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from experiments.benchmarking.compiled import CompiledCall, compile_call
from experiments.benchmarking.timing import in_turns
from experiments.runs import provenance
from experiments.system import available_cores

_SIDE = 2048  # of the matrices whose product gives the peak
_SMALLEST_COPY, _LARGEST_COPY = 2**20, 2**27  # bytes read and written


@dataclasses.dataclass(frozen=True)
class Peaks:
    """What the machine did at a time.

    Attributes:
      flops: per second, of a product of large float32 matrices.
      bandwidth: bytes per second, read and written, of a copy of an array.
      call_seconds: the seconds of a compiled function that does nothing, called from Python.
    """

    flops: float
    bandwidth: float
    call_seconds: float


class PeakMeter:
    """Measures the machine's peaks, again and again with the same compiled functions."""

    def __init__(self) -> None:
        square = jnp.ones((_SIDE, _SIDE), jnp.float32)
        self._calls = {
            "product": compile_call(jnp.matmul, (square, square)),
            "nothing": compile_call(jnp.negative, (jnp.ones(1),)),
        }

    def measure(self, seconds: float = 0.5, touched: float = _LARGEST_COPY) -> Peaks:
        """Returns the peaks at this time.

        Args:
          seconds: how long to measure, about.
          touched: bytes that are read and written in all: of few, a cache holds some, and a copy
            of as many is what a program can be held against. Default: more than caches hold.
        """
        numbers = round(min(max(touched, _SMALLEST_COPY), _LARGEST_COPY) / 8)
        calls = self._calls | {"copy": _copy_of(numbers)}
        timings = in_turns(calls, seconds)
        return Peaks(
            flops=2 * _SIDE**3 / timings["product"].low,
            bandwidth=8 * numbers / timings["copy"].low,
            call_seconds=timings["nothing"].median,
        )


@functools.lru_cache(maxsize=1)
def _copy_of(numbers: int) -> CompiledCall:
    """Returns a function that reads and writes some float32 numbers."""
    return compile_call(jnp.negative, (jnp.ones(numbers, jnp.float32),))


class LoadMeter:
    """Tells how much of the cores' time other processes took since it was made.

    Args:
      pids: the processes that belong to this one.
    """

    def __init__(self, pids: Sequence[int] = ()):
        self._pids = pids
        self._start = time.monotonic(), _busy_seconds(), self._own_seconds()

    def of_others(self) -> float | None:
        """Returns a fraction of all cores' time; None where that is not known."""
        start, busy, own = self._start
        now_busy, now_own = _busy_seconds(), self._own_seconds()
        if busy is None or now_busy is None:
            return None
        others = (now_busy - busy) - (now_own - own)
        return max(0.0, others / (max(time.monotonic() - start, 0.1) * (os.cpu_count() or 1)))

    def _own_seconds(self) -> float:
        times = os.times()
        return sum(times[:4]) + sum(map(_process_seconds, self._pids))


def _busy_seconds() -> float | None:
    """Returns the seconds that all cores together have worked since the machine's start."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _process_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:  # it has ended
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def description() -> dict[str, Any]:
    """Returns what the benchmark runs on."""
    return provenance.device() | {
        "cpu": cpu_model(),
        "cores": len(available_cores()),
        "memory_gib": round(_pages("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
    }


def cpu_model() -> str:
    """Returns the CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def free_memory() -> float:
    """Returns the bytes of main memory that are free; infinity where that is not known."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(
            1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")
        )
    except (OSError, StopIteration):
        return float("inf")


def _pages(name: str) -> int:
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 0
