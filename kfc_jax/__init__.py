"""Fully connected layers as sums of Kronecker products, in JAX and Flax."""

from kfc_jax.contraction import kronecker_matmul, materialize
from kfc_jax.decomposition import (
    DecompositionReport,
    Spectrum,
    low_rank,
    nearest_kronecker_sum,
    spectrum,
)
from kfc_jax.explaining import Explanation, explain
from kfc_jax.linen import KFCDense, LowRankDense
from kfc_jax.optimizers import add_decayed_weights, factor_multipliers, scale_factor_updates
from kfc_jax.structure import KroneckerSum, KroneckerTerm

__all__ = [
    "DecompositionReport",
    "Explanation",
    "KFCDense",
    "KroneckerSum",
    "KroneckerTerm",
    "LowRankDense",
    "Spectrum",
    "add_decayed_weights",
    "explain",
    "factor_multipliers",
    "kronecker_matmul",
    "low_rank",
    "materialize",
    "nearest_kronecker_sum",
    "scale_factor_updates",
    "spectrum",
]
