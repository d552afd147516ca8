"""The Flax layer of every kind of structure."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

import flax.linen as nn

from kfc_jax.layers.block_diagonal import BlockDiagonalDense
from kfc_jax.layers.linen import KFCDense, LowRankDense
from kfc_jax.structures import (
    BlockDiagonalStructure,
    DenseStructure,
    KroneckerStructure,
    LayerStructure,
    LowRankStructure,
    layer_kinds,
)

_Structure = TypeVar("_Structure", bound=LayerStructure)
Given = _Structure | str | None
"""What a function that `layer_for` dispatches to gets: a structure, its text form, or nothing."""


@functools.singledispatch
def layer_for(structure: LayerStructure, features: int, **fields: Any) -> nn.Module:
    """Returns the layer whose kernel is stored as ``structure`` says.

    A kind registers its own function, ``@layer_for.register(Kind)``. For the fields of a config,
    before the layer's inputs are known, `make_layer` calls it with a text or None in place of the
    structure, and with ``rank`` and ``num_factors`` among the fields; a function ignores those
    that its kind has no use for.

    Args:
      structure: how the kernel is stored; the function depends on its class.
      features: the number of output features.
      **fields: further fields of ``nn.Dense``, such as ``use_bias`` or ``name``.

    Raises:
      NotImplementedError: if the kind has registered no layer.
    """
    raise NotImplementedError(
        f"There is no layer for {type(structure).__name__}: register a function with "
        "@kfc_jax.layers.layer_for.register."
    )


def make_layer(
    kind: str,
    features: int,
    *,
    structure: str | None = None,
    rank: int | None = None,
    num_factors: int = 2,
    **fields: Any,
) -> nn.Module:
    """Returns the layer that the fields of a config describe; it sees its inputs later.

    Fields that the kind does not use are ignored.

    Args:
      kind: one of ``kfc_jax.structures.layer_kinds()``.
      features: the number of output features.
      structure: the text form of the structure. Default: what follows from ``rank``.
      rank: the rank of a structure that is not given. Default: the layer's own.
      num_factors: the number of factors of a structure that is not given.
      **fields: further fields of ``nn.Dense``.

    Raises:
      ValueError: if the kind is unknown.
    """
    kinds = layer_kinds()
    if kind not in kinds:
        raise ValueError(f"kind is {kind!r}; take one of {', '.join(kinds)}.")
    make = layer_for.dispatch(kinds[kind])
    return make(structure, features, rank=rank, num_factors=num_factors, **fields)


@layer_for.register(DenseStructure)
def _dense(structure: Given[DenseStructure], features: int, **fields: Any) -> nn.Dense:
    del structure
    return nn.Dense(features, **_without(fields, "rank", "num_factors"))


@layer_for.register(KroneckerStructure)
def _kfc(structure: Given[KroneckerStructure], features: int, **fields: Any) -> KFCDense:
    return KFCDense(features, structure=structure, **fields)


@layer_for.register(LowRankStructure)
def _low_rank(structure: Given[LowRankStructure], features: int, **fields: Any) -> LowRankDense:
    if isinstance(structure, LowRankStructure):
        fields["rank"] = structure.rank
    return LowRankDense(features, **_without(fields, "num_factors"))


@layer_for.register(BlockDiagonalStructure)
def _block_diagonal(
    structure: Given[BlockDiagonalStructure], features: int, **fields: Any
) -> BlockDiagonalDense:
    fields = _without(fields, "rank", "num_factors")
    return BlockDiagonalDense(features, structure=structure or "", **fields)


def _without(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}
