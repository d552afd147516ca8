"""Every shape of a kernel of a size, at the ranks that make it smaller and faster than dense."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

from kfc_jax.structures import DenseStructure, KroneckerStructure, LayerStructure, layer_kinds

AUTO = "auto"

_MAX_UNKNOWNS = 2048  # rank * n_k of a factor that a weighted sweep solves for, in cubic time


@dataclasses.dataclass(frozen=True)
class ShapeAtRanks:
    """A shape at every rank from `min_rank` to `max_rank`.

    Attributes:
      structure: the shape at rank 1.
      unit: what one product costs.
      min_rank: the lowest rank that gives the kernel the matrix rank that is wanted.
      max_rank: the highest rank of fewer parameters and fewer FLOPs than the dense kernel.
    """

    structure: LayerStructure
    unit: int
    min_rank: int
    max_rank: int


def methods() -> tuple[str, ...]:
    """Returns the methods of a plan: ``auto``, and every kind whose ranks can be chosen."""
    kinds = layer_kinds().items()
    return (AUTO, *(name for name, kind in kinds if kind.of_rank_one(4, 4)))


@functools.lru_cache(maxsize=64)
def shapes_at_ranks(
    size: tuple[int, int],
    method: str,
    cost: Callable[[LayerStructure], int],
    min_matrix_rank: float,
    has_weights: bool,
    kinds: tuple[type[LayerStructure], ...],
) -> tuple[ShapeAtRanks, ...]:
    """Returns the shapes that are, at the rank they need, smaller and faster than dense.

    Args:
      size: that of the kernel; kernels of one size share the result.
      method: one of `methods()`.
      cost: what a structure costs.
      min_matrix_rank: the fraction of the full matrix rank that the kernel must be able to have.
      has_weights: whether ranks are left out at which a weighted sweep takes too long.
      kinds: all kinds of layers.
    """
    dense, found = DenseStructure(*size), []
    # Of two options that are equal, the first is taken: low rank, which multiplies faster.
    for kind in sorted(kinds, key=lambda kind: kind is KroneckerStructure):
        if method not in (AUTO, kind.kind):
            continue
        for structure in kind.of_rank_one(*size):
            max_rank = min(
                structure.max_rank,
                (dense.num_parameters - 1) // structure.num_parameters,
                (dense.flops(1) - 1) // structure.flops(1),
            )
            if has_weights and isinstance(structure, KroneckerStructure):
                rows = max(n for term in structure.terms for n, _ in term.shapes)
                max_rank = min(max_rank, _MAX_UNKNOWNS // rows)
            wanted = min_matrix_rank * dense.matrix_rank
            min_rank = max(1, math.ceil(wanted / structure.matrix_rank))
            if max_rank >= min_rank:
                found.append(ShapeAtRanks(structure, cost(structure), min_rank, max_rank))
    return tuple(found)
