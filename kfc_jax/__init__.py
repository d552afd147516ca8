"""Fully connected layers as sums of Kronecker products, in JAX and Flax.

The names by wing; data flows downwards, from structures to compression.

- `kfc_jax.structures`: `KroneckerStructure`, `KroneckerTerm`
- `kfc_jax.product`: `kronecker_matmul`, `materialize`, `explain`
- `kfc_jax.decompose`: `nearest_kronecker_sum`, `low_rank`, `spectrum`, `unit_order`
- `kfc_jax.layers`: `KFCDense`, `LowRankDense`, `BlockDiagonalDense`, `KFCEmbed`, and how they
  train: `scale_factor_updates`, `factor_multipliers`, `add_decayed_weights`
- `kfc_jax.nnx`: the same layers for Flax NNX, which are in that module alone
- `kfc_jax.compress`: `plan_compression`, `convert`, `CompressedModel`, `to_dense`, ...
"""

from kfc_jax.compress import (
    Budget,
    CompressedModel,
    CompressionPlan,
    convert,
    find_layers,
    input_statistics,
    plan_compression,
    reorder_units,
    to_dense,
)
from kfc_jax.decompose import (
    DecompositionReport,
    InputStatistics,
    Spectrum,
    low_rank,
    nearest_kronecker_sum,
    spectrum,
    unit_order,
)
from kfc_jax.layers import (
    BlockDiagonalDense,
    KFCDense,
    KFCEmbed,
    LowRankDense,
    add_decayed_weights,
    factor_multipliers,
    scale_factor_updates,
)
from kfc_jax.product import Explanation, explain, kronecker_matmul, materialize
from kfc_jax.structures import KroneckerStructure, KroneckerTerm

__version__ = "0.2.0"

KroneckerSum = KroneckerStructure  # the name before 0.2.0

__all__ = [
    "BlockDiagonalDense",
    "Budget",
    "CompressedModel",
    "CompressionPlan",
    "DecompositionReport",
    "Explanation",
    "InputStatistics",
    "KFCDense",
    "KFCEmbed",
    "KroneckerStructure",
    "KroneckerSum",
    "KroneckerTerm",
    "LowRankDense",
    "Spectrum",
    "__version__",
    "add_decayed_weights",
    "convert",
    "explain",
    "factor_multipliers",
    "find_layers",
    "input_statistics",
    "kronecker_matmul",
    "low_rank",
    "materialize",
    "nearest_kronecker_sum",
    "plan_compression",
    "reorder_units",
    "scale_factor_updates",
    "spectrum",
    "to_dense",
    "unit_order",
]
