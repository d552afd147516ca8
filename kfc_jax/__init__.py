"""Fully connected layers as sums of Kronecker products, in JAX and Flax."""

from kfc_jax.contraction import kronecker_matmul, materialize
from kfc_jax.linen import KFCDense, LowRankDense
from kfc_jax.optimizers import add_decayed_weights, factor_multipliers, scale_factor_updates
from kfc_jax.structure import KroneckerSum, KroneckerTerm

__all__ = [
    "KFCDense",
    "KroneckerSum",
    "KroneckerTerm",
    "LowRankDense",
    "add_decayed_weights",
    "factor_multipliers",
    "kronecker_matmul",
    "materialize",
    "scale_factor_updates",
]
