"""The kernels of one term of two factors: which there are, and how each is cut up.

For one sample `X: (n1, n2)` and factors `A: (r, n1, m1)`, `B: (r, n2, m2)` the product is, for
every rank, one of

    A first:  T = A.T @ X,  (m1, n2);   Y += T @ B
    B first:  T = X @ B,    (n1, m2);   Y += A.T @ T

so that all that a sample needs stays in the nearest caches. The gradients recompute `T`; those of
the factors are summed over all samples of a slot, and the slots at the end: which samples belong to
which slot depends on the batch alone, so the same call gives the same bits on any number of
threads.
"""

from __future__ import annotations

import dataclasses
import math

from kfc_jax.product.native.builder import BYTES
from kfc_jax.product.native.host import Host
from kfc_jax.product.native.tiles import half_cycles

MOST_SCRATCH = 256 * 1024
"""Bytes on the stack of one of XLA's threads that a kernel may take."""

_BLOCK = 64  # inner side of the factors' gradients that samples are taken together for
_MOST_SLOTS = 32
_SLOT_SHARE = 800  # FLOPs of all samples, at least, for a number in all slots


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel: everything that its code depends on, but for the CPU.

    Attributes:
      pair: shapes of both factors, `((n1, m1), (n2, m2))`.
      rank: products that are summed.
      inputs: numbers of a sample; up to `n1 n2`, the rest counts as zeros.
      features: numbers of a result; up to `m1 m2`, the rest is cut off.
      dtype: type of samples and results, `bfloat16`, `float32` or `float64`.
      backward: whether it gives the gradients.
      left_first: the order.
      parts: forward, how many units share one sample.
      together: backward, how many samples are treated at once.
    """

    pair: tuple[tuple[int, int], tuple[int, int]]
    rank: int
    inputs: int
    features: int
    dtype: str
    backward: bool
    left_first: bool
    parts: int = 1
    together: int = 1

    @property
    def compute(self) -> str:
        """Type of the numbers that are computed with; the factors are of it."""
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def name(self) -> str:
        """A name that tells kernels apart."""
        (n1, m1), (n2, m2) = self.pair
        way = f"{'b' if self.backward else 'f'}{'l' if self.left_first else 'r'}"
        return (
            f"kfc_{self.dtype}_{self.rank}_{n1}x{m1}_{n2}x{m2}_{self.inputs}x{self.features}_"
            f"{way}{self.parts}_{self.together}"
        )

    @property
    def copies_inputs(self) -> bool:
        """Whether a sample is copied before it is multiplied: padded, or of another type."""
        (n1, _), (n2, _) = self.pair
        return self.dtype == "bfloat16" or self.inputs < n1 * n2

    @property
    def copies_features(self) -> bool:
        """Whether a result is copied out, likewise."""
        (_, m1), (_, m2) = self.pair
        return self.dtype == "bfloat16" or self.features < m1 * m2

    @property
    def scratch(self) -> int:
        """Bytes on the stack that a unit takes."""
        (n1, m1), (n2, m2) = self.pair
        state = m1 * n2 if self.left_first else n1 * m2
        if not self.backward:
            numbers = state // self.parts
            numbers += n1 * n2 * self.copies_inputs + m1 * m2 * self.copies_features
        else:
            turned = n1 * n2 if self.left_first else m1 * m2
            numbers = self.together * (2 * state + turned)
            numbers += self.together * (
                2 * n1 * n2 * self.copies_inputs + m1 * m2 * self.copies_features
            )
        return numbers * BYTES[self.compute]

    @property
    def flops(self) -> int:
        """FLOPs of one sample."""
        return sum(2 * math.prod(sizes) for sizes in self._products())

    @property
    def factor_numbers(self) -> int:
        """How many numbers both factors have."""
        return self.rank * sum(n * m for n, m in self.pair)

    def half_cycles(self, host: Host) -> float:
        """Half cycles of one core that the products of one sample take, masked lanes counted."""
        return sum(half_cycles(sizes, host, self.compute) for sizes in self._products())

    def slots(self, batch: int) -> int:
        """Returns in how many slots the gradients of factors are summed.

        Few where they are large for the work that there is, as each is written and read again.
        """
        affordable = batch * self.flops // (_SLOT_SHARE * self.factor_numbers)
        return max(1, min(batch, _MOST_SLOTS, max(affordable, 4)))

    def _products(self) -> list[tuple[int, int, int]]:
        """Returns the sizes `(m, n, k)` of all products for one sample."""
        (n1, m1), (n2, m2) = self.pair
        if self.left_first:
            forward = [(m1, n2, n1), (m1, m2, n2)]
            gradients = [(m1, n2, m2), (n1, n2, m1), (n2, m2, m1), (m1, n1, n2)]
        else:
            forward = [(n1, m2, n2), (m1, m2, n1)]
            gradients = [(n1, m2, m1), (n1, n2, m2), (n1, m1, m2), (n2, m2, n1)]
        return self.rank * [forward[0], *gradients] if self.backward else self.rank * forward


def make_kernel(
    pair: tuple[tuple[int, int], tuple[int, int]],
    rank: int,
    inputs: int,
    features: int,
    dtype: str,
    batch: int,
    *,
    backward: bool,
    left_first: bool,
) -> Kernel | None:
    """Returns the kernel for a batch; None if its scratch is too small, or for another type."""
    if dtype not in BYTES:
        return None
    kernel = Kernel(pair, rank, inputs, features, dtype, backward, left_first)
    if not backward:
        kernel = dataclasses.replace(kernel, parts=_parts(kernel, batch))
    elif kernel.scratch <= MOST_SCRATCH:
        kernel = dataclasses.replace(kernel, together=_together(kernel, batch))
    return kernel if kernel.scratch <= MOST_SCRATCH else None


def _together(kernel: Kernel, batch: int) -> int:
    """Returns how many samples to treat at once, so that inner sides are long enough."""
    (n1, m1), (n2, m2) = kernel.pair
    side = min(m1, n2) if kernel.left_first else min(n1, m2)
    per_slot = batch // kernel.slots(batch)
    wanted = max(1, min(8, per_slot, -(-_BLOCK // side)))
    while wanted > 1:
        if dataclasses.replace(kernel, together=wanted).scratch <= MOST_SCRATCH:
            return wanted
        wanted -= 1
    return 1


def _parts(kernel: Kernel, batch: int) -> int:
    """Returns how many units share a sample: several where there are few samples."""
    if kernel.copies_features:
        return 1
    (_, m1), (_, m2) = kernel.pair
    side, least = (m1, 8) if kernel.left_first else (m2, 32)
    parts = 1
    while (
        batch * parts < 8
        and batch * kernel.flops > 2_000_000
        and side % (2 * parts) == 0
        and side // (2 * parts) >= least
    ):
        parts *= 2
    return parts
