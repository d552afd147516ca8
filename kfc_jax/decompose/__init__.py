"""From a dense kernel to the factors nearest to it.

- `nearest_kronecker_sum`: the nearest sum of Kronecker products of a structure.
- `low_rank`: the nearest kernel of a rank (truncated SVD).
- `DecompositionReport`: what a decomposition reached.
- `spectrum`, `Spectrum`: the error of every rank of a shape at once.
- `unit_order`: the order of a layer's units in which its kernel is nearest to a structure.
- `rearrange`: Van Loan and Pitsianis' rearrangement of a kernel.
- `second_moment_of`: the second moment of samples, checked.
- `kronecker_roots`: the roots of a second moment, taken for a Kronecker product.
"""

from kfc_jax.decompose.nearest import (
    DecompositionReport,
    Spectrum,
    low_rank,
    nearest_kronecker_sum,
    spectrum,
)
from kfc_jax.decompose.rearrangement import rearrange
from kfc_jax.decompose.second_moment import kronecker_roots, second_moment_of
from kfc_jax.decompose.unit_ordering import unit_order

__all__ = [
    "DecompositionReport",
    "Spectrum",
    "kronecker_roots",
    "low_rank",
    "nearest_kronecker_sum",
    "rearrange",
    "second_moment_of",
    "spectrum",
    "unit_order",
]
