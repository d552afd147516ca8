"""Layers that stand where dense ones stood, and how to train them.

- `KFCDense`: a dense layer whose kernel is a sum of Kronecker products.
- `LowRankDense`: one whose kernel is a product of two thin matrices.
- `factor_initializer`: the initialiser of one factor, from that of the dense kernel.
- `scale_factor_updates`: the optax transform with which factors train like a dense kernel.
- `factor_multipliers`: the multipliers that it uses.
- `add_decayed_weights`: the weight decay of a product, not of each factor.
- `DEFAULT_GAIN`: how much of the rule for factors is used.
"""

from kfc_jax.layers.initializers import factor_initializer
from kfc_jax.layers.linen import KFCDense, LowRankDense
from kfc_jax.layers.optimizers import (
    DEFAULT_GAIN,
    add_decayed_weights,
    factor_multipliers,
    scale_factor_updates,
)

__all__ = [
    "DEFAULT_GAIN",
    "KFCDense",
    "LowRankDense",
    "add_decayed_weights",
    "factor_initializer",
    "factor_multipliers",
    "scale_factor_updates",
]
