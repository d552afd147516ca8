"""A trained model made small: plan what becomes of its layers, convert its parameters, run it.

- `plan_compression`, `CompressionPlan`: the structure of every layer within a budget.
- `Budget`: what the model may cost.
- `Rank`: a rule of a plan: low rank at a fraction of the parameters.
- `convert`: new parameters, with factors in place of kernels.
- `convert_module`: an NNX module that runs on factors.
- `to_dense`: parameters of the dense model again.
- `find_layers`: the layers of a model that can be replaced, found by tracing it.
- `input_statistics`: what the layers see.
- `reorder_units`: the order of units that suits the structures.
- `CompressedModel`: a model of dense layers, run with the new parameters.
- `Checkpoint`: a model's arrays with the structures of its layers, as a safetensors file.
"""

from typing import TYPE_CHECKING, Any

from kfc_jax.compress.budget import Budget
from kfc_jax.compress.checkpoint import Checkpoint
from kfc_jax.compress.conversion import convert, to_dense
from kfc_jax.compress.model_layers import find_layers
from kfc_jax.compress.plan import CompressionPlan
from kfc_jax.compress.planner import plan_compression
from kfc_jax.compress.reorder import reorder_units
from kfc_jax.compress.replace import CompressedModel
from kfc_jax.compress.rules import Rank
from kfc_jax.compress.statistics import input_statistics

if TYPE_CHECKING:
    from kfc_jax.compress.modules import convert_module

__all__ = [
    "Budget",
    "Checkpoint",
    "CompressedModel",
    "CompressionPlan",
    "Rank",
    "convert",
    "convert_module",
    "find_layers",
    "input_statistics",
    "plan_compression",
    "reorder_units",
    "to_dense",
]


def __getattr__(name: str) -> Any:
    """Loads what needs NNX when it is asked for, so that who uses linen alone does not load it."""
    if name == "convert_module":
        from kfc_jax.compress.modules import convert_module

        return convert_module
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
