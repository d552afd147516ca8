"""Kernels followed through a model's program, whatever its layers are called.

- `find_kernels`: the kernels that a model reads by products, and why others are none.
- `ReadKernel`, `KernelAxes`: such a kernel, and which of its axes are what.
- `run_on_factors`, `FactoredLeaf`: a model run on factors in place of kernels.
- `record_inputs`, `Sums`: what kernels are multiplied with.
- `marked`: inputs of a layer of another kind that are to be recorded, too.
- `find_unit_groups`: the axes of arrays that count the same units.
- `leaves_by_path`, `path_of`: the arrays of a tree by their paths.
"""

from kfc_jax.tracing.find import ReadKernel, find_kernels
from kfc_jax.tracing.kernels import KernelAxes
from kfc_jax.tracing.record import marked, record_inputs
from kfc_jax.tracing.records import Sums
from kfc_jax.tracing.run import FactoredLeaf, run_on_factors
from kfc_jax.tracing.trees import leaves_by_path, path_of
from kfc_jax.tracing.unit_groups import find_unit_groups

__all__ = [
    "FactoredLeaf",
    "KernelAxes",
    "ReadKernel",
    "Sums",
    "find_kernels",
    "find_unit_groups",
    "leaves_by_path",
    "marked",
    "path_of",
    "record_inputs",
    "run_on_factors",
]
