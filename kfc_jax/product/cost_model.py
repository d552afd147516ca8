"""How long work takes on a machine: a linear model of few constants.

Multiplying by factors is a sequence of matrix products and copies. Its time is modelled as a sum
over what is done, each kind of work with its own constant::

    seconds = calls * per_call + flops * per_flop + small * per_small_flop + rounds * per_round
              + touched * per_touched_byte + moved * per_moved_byte + spilled * per_spilled_byte
              + native * per_half_cycle

The constants that ship for CPUs were fitted to measurements on two cores of an x86 server, once
with its vectors of 64 bytes (AVX-512) and once with 32 (AVX2, taken for narrower ones as well);
those for other platforms are data-sheet figures, not measured. A file of constants for the machine
at hand, as ``python -m experiments.benchmark --calibrate`` writes it, is read from the path in the
environment variable ``KFC_JAX_COSTS``, once per process.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
from pathlib import Path

from kfc_jax.product.native import host_of

COSTS_VARIABLE = "KFC_JAX_COSTS"
_AVX512_BYTES = 64


@dataclasses.dataclass(frozen=True)
class Work:
    """Amounts of work, and the memory that it needs.

    Attributes:
      calls: matrix products and copies that are called, outside of loops over samples.
      flops: floating-point operations of the products.
      small: those among them of products of a single sample, which use the machine less well.
      touched: bytes of the products' operands and results.
      moved: bytes written by transpositions and copies.
      spilled: bytes of intermediates that do not fit into the cache, written or read.
      rounds: samples or chunks treated one by one; those of a batched product count a tenth.
      native: half cycles of native kernels, as ``kfc_jax.product.native`` counts them.
      native_flops: floating-point operations in these (not a time of their own).
      peak: bytes of the largest intermediates alive at once (not a time; a sum takes the maximum).
    """

    calls: float = 0.0
    flops: float = 0.0
    small: float = 0.0
    touched: float = 0.0
    moved: float = 0.0
    spilled: float = 0.0
    rounds: float = 0.0
    native: float = 0.0
    native_flops: float = 0.0
    peak: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            *(getattr(self, name) + getattr(other, name) for name in (*KINDS, "native_flops")),
            peak=max(self.peak, other.peak),
        )

    def times(self, count: float) -> Work:
        """Returns this work done ``count`` times, one after the other."""
        sums = (getattr(self, name) * count for name in (*KINDS, "native_flops"))
        return Work(*sums, peak=self.peak)


KINDS = ("calls", "flops", "small", "touched", "moved", "spilled", "rounds", "native")
"""The attributes of ``Work`` that take time, in the order of its fields."""


@dataclasses.dataclass(frozen=True)
class Costs:
    """Seconds per unit of each kind of work on one machine.

    Attributes:
      calls, flops, small, touched, moved, spilled, rounds, native: seconds per unit of ``Work``'s
        of that name; ``small`` comes on top of ``flops``.
      cache: bytes of intermediates that stay in the cache.
      loops: whether loops over samples or chunks of them are considered.
    """

    calls: float
    flops: float
    small: float
    touched: float
    moved: float
    spilled: float
    rounds: float
    native: float
    cache: float
    loops: bool

    def seconds(self, work: Work) -> float:
        """Returns the time that ``work`` is predicted to take."""
        return sum(getattr(self, name) * getattr(work, name) for name in KINDS)


_SHIPPED = {
    "cpu": Costs(
        calls=1.41e-5,
        flops=6.00e-12,
        small=1.63e-12,
        touched=2.64e-11,
        moved=1.70e-10,
        spilled=2.59e-10,
        rounds=5.84e-6,
        native=1.52e-10,
        cache=16 * 2**20,
        loops=True,
    ),
    # Large products near the peak, limited by memory otherwise; never measured by us.
    "cuda": Costs(5e-6, 1 / 40e12, 0.0, 1 / 2e12, 1 / 1e12, 0.0, 0.0, 0.0, math.inf, loops=False),
    "tpu": Costs(2e-6, 1 / 60e12, 0.0, 1 / 1e12, 1 / 5e11, 0.0, 0.0, 0.0, math.inf, loops=False),
}
_SHIPPED_AVX2 = Costs(
    calls=8.31e-6,
    flops=6.30e-12,
    small=3.95e-12,
    touched=5.38e-11,
    moved=1.24e-10,
    spilled=0.0,
    rounds=1.44e-6,
    native=1.18e-10,
    cache=2**20,
    loops=True,
)
_OTHER_NAMES = {"gpu": "cuda", "rocm": "cuda"}
PLATFORMS = ("cpu", "cuda", "rocm", "gpu", "tpu")


def costs_of(platform: str) -> Costs:
    """Returns the constants of a platform: those of the file in ``KFC_JAX_COSTS``, or shipped ones.

    Raises:
      ValueError: if there is no such platform, or the file is not one of constants.
      OSError: if the file cannot be read.
    """
    if platform not in PLATFORMS:
        raise ValueError(f"platform is {platform!r}; take one of {', '.join(PLATFORMS)}.")
    name = _OTHER_NAMES.get(platform, platform)
    path = os.environ.get(COSTS_VARIABLE)
    measured = _read(path) if path else {}
    if (host := host_of(name)) and host.vector_bytes < _AVX512_BYTES:
        return measured.get(name, _SHIPPED_AVX2)
    return measured.get(name, _SHIPPED[name])


def save_costs(costs: dict[str, Costs], path: str | os.PathLike[str]) -> None:
    """Writes constants by platform to a file that ``KFC_JAX_COSTS`` may point to."""
    text = json.dumps({name: dataclasses.asdict(cost) for name, cost in costs.items()}, indent=2)
    part = Path(f"{path}.part")
    part.write_text(text + "\n")
    part.replace(path)  # old or new, never a part


@functools.cache
def _read(path: str) -> dict[str, Costs]:
    try:
        entries = json.loads(Path(path).read_text())
        return {name: Costs(**entry) for name, entry in entries.items()}
    except (json.JSONDecodeError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}, which {COSTS_VARIABLE} names, holds no constants of a machine ({error}). "
            "Make it anew with python -m experiments.benchmark --calibrate, or unset the variable."
        ) from error
