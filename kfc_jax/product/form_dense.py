"""The dense kernel that a layer's arrays stand for, for every kind of structure."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact

from kfc_jax.product.matmul import materialize
from kfc_jax.structures import BlockDiagonalStructure, KroneckerStructure, LayerStructure

Arrays = Mapping[str, Array | np.ndarray]


@functools.singledispatch
def dense_kernel(structure: LayerStructure, arrays: Arrays) -> Inexact[Array, "inputs features"]:
    """Returns the dense kernel that a layer's arrays stand for.

    It is formed in float32 at least and has the promoted type of the arrays. By default it is the
    sum of the Kronecker products of ``structure.factors_of(arrays)``; a kind whose kernel is
    something else registers its own function: ``@dense_kernel.register``.

    Args:
      structure: how the kernel is stored; the function depends on its class.
      arrays: the arrays by their names, of the shapes ``structure.array_shapes``.

    Raises:
      ValueError: if the arrays do not have these shapes.
    """
    structure.check_shapes({name: np.shape(array) for name, array in arrays.items()})
    factors = structure.factors_of(arrays)
    dtype = jnp.result_type(*(factor for term in factors for factor in term))
    wide = jnp.promote_types(dtype, jnp.float32)
    factors = [[jnp.asarray(factor, wide) for factor in term] for term in factors]
    padded = structure if isinstance(structure, KroneckerStructure) else None
    return materialize(factors, structure=padded).astype(dtype)


@dense_kernel.register
def _block_diagonal(
    structure: BlockDiagonalStructure, arrays: Arrays
) -> Inexact[Array, "inputs features"]:
    structure.check_shapes({name: np.shape(array) for name, array in arrays.items()})
    (blocks,) = (jnp.asarray(array) for array in arrays.values())
    count, rows, columns = blocks.shape
    grid = jnp.zeros((count, columns, count, rows), blocks.dtype)
    each = jnp.arange(count)
    grid = grid.at[each, :, each].set(blocks.swapaxes(1, 2))
    return structure.inputs_of(grid.reshape(structure.features, count, rows)).T
