"""From a dense kernel to the arrays nearest to it.

- `nearest_kronecker_sum`: the nearest sum of Kronecker products of a structure.
- `low_rank`: the nearest kernel of a matrix rank (truncated SVD).
- `decompose_kernel`: the nearest arrays of a structure of whatever kind.
- `DecompositionReport`: what a decomposition reached.
- `InputStatistics`: what a layer sees, by which errors of its output are weighted.
- `errors_at_ranks`: the errors of all ranks of a structure's shape at once, estimated.
- `RankErrors`: these errors.
- `ShapeErrors`: those of one kernel for many shapes, also as sketches.
- `spectrum`: the singular values that tell the error of every rank of a shape.
- `Spectrum`: these values, with the errors.
- `WeightedFits`: the errors that a few sweeps reach, for one kernel and many shapes.
- `unit_order`: the order of a layer's units in which its kernel is nearest to a structure.
"""

from kfc_jax.decompose.decompose_layer import decompose_kernel
from kfc_jax.decompose.input_statistics import InputStatistics
from kfc_jax.decompose.nearest import nearest_kronecker_sum
from kfc_jax.decompose.report import DecompositionReport
from kfc_jax.decompose.spectra import (
    RankErrors,
    ShapeErrors,
    Spectrum,
    errors_at_ranks,
    spectrum,
)
from kfc_jax.decompose.thin_matrices import low_rank
from kfc_jax.decompose.unit_ordering import unit_order
from kfc_jax.decompose.weighted_fits import WeightedFits

__all__ = [
    "DecompositionReport",
    "InputStatistics",
    "RankErrors",
    "ShapeErrors",
    "Spectrum",
    "WeightedFits",
    "decompose_kernel",
    "errors_at_ranks",
    "low_rank",
    "nearest_kronecker_sum",
    "spectrum",
    "unit_order",
]
