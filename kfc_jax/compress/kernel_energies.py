"""Whether a kernel has the structure that it is planned to get, told before any work on it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

_LITTLE_MORE = 0.05  # of what the other one leaves: no more is no difference
_CHANCE = 3.0  # over the root of the number of entries: what chance alone may add


@dataclasses.dataclass(frozen=True)
class KernelEnergies:
    """How much of a kernel's energy approximations of one size keep; with statistics, its outputs'.

    The energy is the squared norm. What is kept between two whole ranks is interpolated.

    Attributes:
      parameters: the size at which they are compared.
      entries: the number of entries of the kernel; with statistics, as many of equal weight as make
        numbers as uncertain.
      kronecker: the part that the best sum of Kronecker products keeps, of one shape.
      random: what a sum of this shape keeps of a kernel of random numbers.
      low_rank: what low rank keeps; None if the plan does not consider it.
    """

    parameters: int
    entries: float
    kronecker: float
    random: float
    low_rank: float | None = None

    @property
    def is_random(self) -> bool:
        """Whether Kronecker products keep no more than of a random kernel."""
        chance = _CHANCE / math.sqrt(self.entries)
        return not _is_more(self.kronecker, self.random, _LITTLE_MORE + chance)

    @property
    def has_kronecker_structure(self) -> bool:
        """Whether Kronecker products keep more than of a random kernel, and more than low rank."""
        return not self.is_random and (
            self.low_rank is None or _is_more(self.kronecker, self.low_rank, 0.0)
        )

    def __str__(self) -> str:
        text = "Kronecker structure" if self.has_kronecker_structure else "no Kronecker structure"
        if not self.is_random and not self.has_kronecker_structure:
            text += " that low rank does not have, too"
        text += (
            f": {self.parameters:,} parameters keep {self.kronecker:.0%} of the energy, "
            f"of a random kernel's {self.random:.0%}"
        )
        return text + ("" if self.low_rank is None else f"; low rank keeps {self.low_rank:.0%}")

    @classmethod
    def mean(cls, energies: Sequence[KernelEnergies | None]) -> KernelEnergies | None:
        """Returns the mean of those of a stack's kernels; None if there are none of one of them."""
        known = [one for one in energies if one is not None]
        if not known or len(known) < len(energies):
            return None
        low = [one.low_rank for one in known if one.low_rank is not None]
        return cls(
            known[0].parameters,
            math.fsum(one.entries for one in known),
            math.fsum(one.kronecker for one in known) / len(known),
            math.fsum(one.random for one in known) / len(known),
            math.fsum(low) / len(low) if len(low) == len(known) else None,
        )


def _is_more(kept: float, other: float, margin: float) -> bool:
    """Whether one keeps more than the other, by a part of what that one leaves."""
    return kept - other > margin * (1 - other)
