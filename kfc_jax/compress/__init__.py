"""A trained model made small: plan what becomes of its layers, convert its parameters, run it.

- `plan_compression`, `CompressionPlan`: the structure of every layer within a budget.
- `Budget`: what the model may cost.
- `convert`: new parameters, with factors in place of kernels.
- `to_dense`: parameters of the dense model again.
- `input_statistics`, `InputStatistics`: what the layers see.
- `reorder_units`: the order of units that suits the structures.
- `CompressedModel`, `replace_dense`: a model of dense layers, run with the new parameters.
"""

from kfc_jax.compress.budget import Budget
from kfc_jax.compress.conversion import convert, to_dense
from kfc_jax.compress.plan import CompressionPlan
from kfc_jax.compress.planner import plan_compression
from kfc_jax.compress.reorder import reorder_units
from kfc_jax.compress.replace import CompressedModel, replace_dense
from kfc_jax.compress.statistics import InputStatistics, input_statistics

__all__ = [
    "Budget",
    "CompressedModel",
    "CompressionPlan",
    "InputStatistics",
    "convert",
    "input_statistics",
    "plan_compression",
    "reorder_units",
    "replace_dense",
    "to_dense",
]
