"""From a dense kernel to the arrays of a layer, for every kind of structure."""

from __future__ import annotations

import functools
import time
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from kfc_jax.decompose.diagonal_blocks import diagonal_blocks
from kfc_jax.decompose.input_statistics import InputStatistics, Samples
from kfc_jax.decompose.nearest import nearest_kronecker_sum
from kfc_jax.decompose.report import DecompositionReport
from kfc_jax.decompose.thin_matrices import low_rank
from kfc_jax.structures import (
    BlockDiagonalStructure,
    DenseStructure,
    KroneckerStructure,
    LayerStructure,
    LowRankStructure,
)

Result = tuple[dict[str, Any], DecompositionReport]


@functools.singledispatch
def decompose_kernel(
    structure: LayerStructure,
    kernel: Float[Array | np.ndarray, "inputs features"],
    *,
    statistics: InputStatistics | Samples | None = None,
    max_sweeps: int = 100,
) -> Result:
    """Returns the arrays of a structure that are nearest to a dense kernel, and a report.

    Args:
      structure: how the kernel is to be stored; the function depends on its class. A kind registers
        its own: ``@decompose_kernel.register``.
      kernel: the dense kernel, of any floating type.
      statistics: what the layer sees, or samples ``(..., inputs)`` of it: with them, the error of
        ``x @ kernel`` is minimised, and that of the kernel without them.
      max_sweeps: the largest number of sweeps, for kinds that are fitted by sweeps.

    Returns:
      The arrays by their names, of the kernel's type and of the shapes ``structure.array_shapes``,
      and a report.

    Raises:
      NotImplementedError: if the kind has registered no decomposition.
      ValueError: if the kernel or the statistics do not fit, or a number is not finite.
    """
    raise NotImplementedError(
        f"There is no decomposition for {type(structure).__name__}: register a function with "
        "@kfc_jax.decompose.decompose_kernel.register."
    )


@decompose_kernel.register
def _dense(
    structure: DenseStructure,
    kernel: Any,
    *,
    statistics: InputStatistics | Samples | None = None,
    max_sweeps: int = 100,
) -> Result:
    del max_sweeps
    report = DecompositionReport.of(
        kernel,
        np.zeros(np.shape(kernel)),
        structure.num_parameters,
        statistics=statistics,
        started=time.perf_counter(),
    )
    return {structure.parameter: kernel}, report


@decompose_kernel.register
def _low_rank(
    structure: LowRankStructure,
    kernel: Any,
    *,
    statistics: InputStatistics | Samples | None = None,
    max_sweeps: int = 100,
) -> Result:
    del max_sweeps
    matrices, report = low_rank(kernel, structure.rank, statistics=statistics)
    return dict(zip(structure.array_shapes, matrices, strict=True)), report


@decompose_kernel.register
def _block_diagonal(
    structure: BlockDiagonalStructure,
    kernel: Any,
    *,
    statistics: InputStatistics | Samples | None = None,
    max_sweeps: int = 100,
) -> Result:
    del max_sweeps
    blocks, report = diagonal_blocks(kernel, structure, statistics=statistics)
    return dict(zip(structure.array_shapes, (blocks,), strict=True)), report


@decompose_kernel.register
def _kfc(
    structure: KroneckerStructure,
    kernel: Any,
    *,
    statistics: InputStatistics | Samples | None = None,
    max_sweeps: int = 100,
) -> Result:
    factors, report = nearest_kronecker_sum(
        kernel, structure, statistics=statistics, max_sweeps=max_sweeps
    )
    return structure.arrays_of(factors), report
