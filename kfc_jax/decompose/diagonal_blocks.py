"""The nearest block-diagonal kernel: the blocks of a dense one."""

from __future__ import annotations

import time

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kfc_jax.decompose.fit_sum import check_kernel, to_float64
from kfc_jax.decompose.input_statistics import InputStatistics, Samples, second_moment_of
from kfc_jax.decompose.report import DecompositionReport
from kfc_jax.structures import BlockDiagonalStructure

_NEGLIGIBLE = 1e-8  # of the largest eigenvalue: inputs that vary less tell nothing


def diagonal_blocks(
    kernel: Float[Array | np.ndarray, "inputs features"],
    structure: BlockDiagonalStructure,
    *,
    statistics: InputStatistics | Samples | None = None,
) -> tuple[Float[Array, "blocks n m"], DecompositionReport]:
    """Returns the blocks with which a block-diagonal kernel is nearest to ``kernel``.

    Without statistics they are the kernel's own. With them, a block also does what can be told
    from its inputs of what the others did, by linear regression; this is the optimum.

    Args:
      kernel: the dense kernel ``(inputs, features)``, of any floating type.
      structure: where the blocks are.
      statistics: what the layer sees, or samples ``(..., inputs)`` of it.

    Returns:
      The blocks, in the kernel's type, and a report.

    Raises:
      ValueError: if the kernel or the statistics do not fit, or a number is not finite.
    """
    started = time.perf_counter()
    dtype = check_kernel(kernel)
    if np.shape(kernel) != (structure.inputs, structure.features):
        raise ValueError(
            f"'{structure}' is for a kernel of {structure.inputs}x{structure.features}; got "
            f"{np.shape(kernel)}."
        )
    moment = second_moment_of(statistics, structure.inputs)
    exact = to_float64(kernel)
    groups = structure.groups_of(np.arange(structure.inputs))
    columns = np.split(np.arange(structure.features), structure.blocks)
    places = [np.ix_(rows, of_block) for rows, of_block in zip(groups, columns, strict=True)]
    blocks = np.stack([exact[place] for place in places])
    rest = exact.copy()
    for place in places:
        rest[place] = 0
    if moment is not None:
        for block, rows, of_block in zip(blocks, groups, columns, strict=True):
            own = np.linalg.pinv(moment[np.ix_(rows, rows)], rcond=_NEGLIGIBLE, hermitian=True)
            block += own @ (moment[rows] @ rest[:, of_block])
    rounded = jnp.asarray(blocks, dtype)
    for place, block in zip(places, np.asarray(rounded, np.float64), strict=True):
        rest[place] = exact[place] - block
    report = DecompositionReport.of(
        kernel, rest, structure.num_parameters, statistics=statistics, started=started
    )
    return rounded, report
