"""Fully connected layers as sums of Kronecker products, in JAX and Flax."""

from kfc_jax.budgets import Budget
from kfc_jax.compression import convert, plan_compression, to_dense
from kfc_jax.compression_plan import CompressionPlan, LayerPlan
from kfc_jax.contraction import kronecker_matmul, materialize
from kfc_jax.decomposition import (
    DecompositionReport,
    Spectrum,
    low_rank,
    nearest_kronecker_sum,
    spectrum,
)
from kfc_jax.dense_replacement import CompressedModel, replace_dense
from kfc_jax.explaining import Explanation, explain
from kfc_jax.input_statistics import InputStatistics, input_statistics
from kfc_jax.linen import KFCDense, LowRankDense
from kfc_jax.optimizers import add_decayed_weights, factor_multipliers, scale_factor_updates
from kfc_jax.reordering import reorder_units
from kfc_jax.structure import KroneckerSum, KroneckerTerm
from kfc_jax.unit_order import unit_order

__all__ = [
    "Budget",
    "CompressedModel",
    "CompressionPlan",
    "DecompositionReport",
    "Explanation",
    "InputStatistics",
    "KFCDense",
    "KroneckerSum",
    "KroneckerTerm",
    "LayerPlan",
    "LowRankDense",
    "Spectrum",
    "add_decayed_weights",
    "convert",
    "explain",
    "factor_multipliers",
    "input_statistics",
    "kronecker_matmul",
    "low_rank",
    "materialize",
    "nearest_kronecker_sum",
    "plan_compression",
    "reorder_units",
    "replace_dense",
    "scale_factor_updates",
    "spectrum",
    "to_dense",
    "unit_order",
]
