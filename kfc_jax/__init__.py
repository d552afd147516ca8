"""Fully connected layers as sums of Kronecker products, in JAX and Flax."""

from kfc_jax.contraction import kronecker_matmul, materialize
from kfc_jax.linen import KFCDense, LowRankDense
from kfc_jax.structure import KroneckerSum, KroneckerTerm

__all__ = [
    "KFCDense",
    "KroneckerSum",
    "KroneckerTerm",
    "LowRankDense",
    "kronecker_matmul",
    "materialize",
]
