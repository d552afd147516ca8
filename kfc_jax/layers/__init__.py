"""Layers that stand where dense ones stood, and how to train them.

- `KFCDense`: a dense layer whose kernel is a sum of Kronecker products.
- `LowRankDense`: one whose kernel is a product of two thin matrices.
- `BlockDiagonalDense`: one whose kernel is blocks on the diagonal.
- `KFCEmbed`: an embedding whose table is a sum of Kronecker products.
- `FactoredDense`: the base of such layers, with the fields of `nn.Dense`.
- `layer_for`: the layer of a structure, of whatever kind.
- `make_layer`: the layer that the fields of a config describe.
- `scale_factor_updates`: the optax transform with which factors train like a dense kernel.
- `factor_multipliers`: the multipliers that it uses.
- `muon_dimension_numbers`: the axes of factors and other arrays that Muon takes for matrices.
- `add_decayed_weights`: the weight decay of a product, not of each factor.
- `DEFAULT_GAIN`: how much of the rule for factors is used.
"""

from kfc_jax.layers.block_diagonal import BlockDiagonalDense
from kfc_jax.layers.embedding import KFCEmbed
from kfc_jax.layers.factory import layer_for, make_layer
from kfc_jax.layers.linen import FactoredDense, KFCDense, LowRankDense
from kfc_jax.layers.optimizers import (
    DEFAULT_GAIN,
    add_decayed_weights,
    muon_dimension_numbers,
    scale_factor_updates,
)
from kfc_jax.layers.update_rule import factor_multipliers

__all__ = [
    "DEFAULT_GAIN",
    "BlockDiagonalDense",
    "FactoredDense",
    "KFCDense",
    "KFCEmbed",
    "LowRankDense",
    "add_decayed_weights",
    "factor_multipliers",
    "layer_for",
    "make_layer",
    "muon_dimension_numbers",
    "scale_factor_updates",
]
