"""A program of a plan: by which terms it multiplies, and how."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, get_args

from kfc_jax.product.cost_model import Work
from kfc_jax.structures import KroneckerStructure, KroneckerTerm

Strategy = Literal["native", "per_sample", "batched", "chunked", "whole_batch", "materialize"]

STRATEGIES: tuple[str, ...] = get_args(Strategy)
"""How a term is multiplied by.

- ``native``: a kernel of machine code for this very structure (``kfc_jax.product.native``), on CPUs
  where one can be made; elsewhere as ``auto``.
- ``per_sample``: a loop over the samples, two small products each, without a transposition.
- ``batched``: batched products, one per sample, the factor repeated; no transpositions.
- ``chunked``: a loop over chunks of samples, few large products each, with transpositions.
- ``whole_batch``: the same for all samples at once.
- ``materialize``: the kernel is formed, and multiplied by as a dense one.
"""

Forming = Literal["natively", "by rows", "at once"]
"""How a kernel is formed: by machine code for its factors (by rows, where that is not there); by
XLA in a loop over the rows of the first factor, or as one product over the ranks."""

Pair = tuple[tuple[int, int], tuple[int, int]]

UNROLL = 8
"""Samples that one round of a loop over samples treats; their products run side by side."""


@dataclasses.dataclass(frozen=True)
class Program:
    """How to multiply by some terms of a structure.

    Attributes:
      terms: the indices of the terms; there are several only if their kernel is formed.
      strategy: one of STRATEGIES.
      split: how many factors, from the left, are formed into ``A``; the rest are formed into
        ``B``. 0: the factors are contracted one after the other, in the order of fewest FLOPs.
      left_first: whether ``A`` is contracted before ``B``.
      chunk: the number of samples that are treated at once.
      work: the work that the program does.
      otherwise: of a ``native`` program, XLA's for the pair of factors where there is no kernel.
      forming: how a kernel is formed; None where none is.
    """

    terms: tuple[int, ...]
    strategy: Strategy
    split: int
    left_first: bool
    chunk: int
    work: Work = dataclasses.field(compare=False)
    otherwise: Program | None = None
    forming: Forming | None = None


def pair_of(term: KroneckerTerm, split: int) -> Pair:
    """Returns the shapes of the two factors that the factors left and right of a split form."""
    left, right = (
        (math.prod(n for n, _ in side), math.prod(m for _, m in side))
        for side in (term.shapes[:split], term.shapes[split:])
    )
    return left, right


def merged_structure(term: KroneckerTerm, split: int) -> KroneckerStructure:
    """Returns the structure of a term once the factors left and right of a split are formed.

    It has no padding: how much is allowed depends on the number of factors.
    """
    return KroneckerStructure((KroneckerTerm(pair_of(term, split), term.rank),))


def check_strategy(strategy: str) -> None:
    """Raises ValueError if ``strategy`` is neither ``auto`` nor one of STRATEGIES."""
    if strategy != "auto" and strategy not in STRATEGIES:
        raise ValueError(
            f"strategy is {strategy!r}; take 'auto' or one of {', '.join(map(repr, STRATEGIES))}."
        )
