"""What a fully connected layer may be in a sweep: dense, Kronecker sums and others, by size.

Sizes are kernel parameters, biases left out. A budget is a number of them (an integer), or a
fraction of the dense kernel's (a float below 1). Kernels are `(inputs, features)`.
"""

from __future__ import annotations

from collections.abc import Iterable

from experiments.sweeping.overrides import Overrides
from kfc_jax.structures import (
    TRAINABLE_MATRIX_RANK,
    BlockDiagonalStructure,
    DenseStructure,
    KroneckerStructure,
    LowRankStructure,
)

TOLERANCE = 0.2
"""How far, as a fraction of the budget, a layer's size may be from it and still count as equal."""


def dense(layer: str) -> Overrides:
    """Returns the overrides that make `layer` (`model.fc1`) dense."""
    return {f"{layer}.kind": DenseStructure.kind}


def kfc(layer: str, structure: KroneckerStructure | str) -> Overrides:
    """Returns the overrides that make `layer` a sum of Kronecker products."""
    return {f"{layer}.kind": KroneckerStructure.kind, f"{layer}.structure": str(structure)}


def low_rank(layer: str, rank: int) -> Overrides:
    """Returns the overrides that make `layer` a product of two matrices."""
    return {f"{layer}.kind": LowRankStructure.kind, f"{layer}.rank": rank}


def block_diagonal(layer: str, structure: BlockDiagonalStructure | str) -> Overrides:
    """Returns the overrides that make `layer` block diagonal."""
    return {f"{layer}.kind": BlockDiagonalStructure.kind, f"{layer}.structure": str(structure)}


def structures_for(
    inputs: int,
    features: int,
    budgets: Iterable[int | float],
    num_factors: int = 2,
    max_shapes: int = 4,
) -> list[str]:
    """Returns structures of one term, of different shapes, whose sizes match the budgets.

    A shape is sensible if no side of a factor is 1, and one product of that shape can have half the
    matrix rank of a dense kernel (that of `5x125*160x4` is only 5 * 4: a bottleneck). Per budget,
    every such shape gets the number of products that comes closest to the budget; those over
    `TOLERANCE` away are left out. Of more than `max_shapes`, that many are taken evenly from the
    one with the smallest factors (of which the most are summed) to the one with the largest.

    Raises:
      ValueError: if an argument is out of range, or no shape comes near a budget.
    """
    if max_shapes < 1:
        raise ValueError(f"max_shapes is {max_shapes}; it must be at least 1.")
    shapes = [
        shape
        for shape in KroneckerStructure.candidates(inputs, features, num_factors)
        if _is_sensible(shape)
    ]
    structures: dict[str, None] = {}
    for budget in budgets:
        size = _parameters(budget, inputs, features)
        fitting = []
        for shape in shapes:
            rank = max(1, round(size / shape.num_parameters))
            is_near = abs(rank * shape.num_parameters - size) <= TOLERANCE * size
            if is_near and rank <= shape.max_rank:
                fitting.append(str(shape.with_rank(rank)))
        if not fitting:
            raise ValueError(
                f"No structure of {num_factors} factors for a kernel of {inputs}x{features} has "
                f"about {size:,} parameters; a single product has at least "
                f"{min(s.num_parameters for s in shapes):,}."
                if shapes
                else f"A kernel of {inputs}x{features} has no shape of {num_factors} factors."
            )
        structures |= dict.fromkeys(_spread(fitting, max_shapes))
    return list(structures)


def low_rank_for(inputs: int, features: int, budgets: Iterable[int | float]) -> list[int]:
    """Returns the ranks whose low-rank layers match the budgets, without those none matches.

    A layer of rank `r` has `r * (inputs + features)` parameters, so small budgets are below rank 1.
    """
    ranks = []
    for budget in budgets:
        size = _parameters(budget, inputs, features)
        one = LowRankStructure(inputs, features, 1)
        rank = round(size / one.num_parameters)
        is_near = abs(rank * one.num_parameters - size) <= TOLERANCE * size
        if 1 <= rank <= one.max_rank and is_near and rank not in ranks:
            ranks.append(rank)
    return ranks


def _is_sensible(shape: KroneckerStructure) -> bool:
    narrowest = min(min(factor) for factor in shape.terms[0].shapes)
    full_rank = min(shape.inputs, shape.features)
    return narrowest > 1 and shape.matrix_rank >= TRAINABLE_MATRIX_RANK * full_rank


def _parameters(budget: int | float, inputs: int, features: int) -> int:
    size = round(budget * inputs * features) if isinstance(budget, float) else budget
    if not 1 <= size <= inputs * features:
        raise ValueError(
            f"A budget is {budget!r}; it must be a number of parameters from 1 to the dense "
            f"kernel's {inputs * features:,}, or a fraction (a float) of them."
        )
    return size


def _spread(items: list[str], count: int) -> list[str]:
    """Returns `count` items evenly apart, the first and the last among them."""
    if len(items) <= count:
        return items
    if count == 1:
        return items[:1]
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]
