"""The product with the kernel that a layer's arrays stand for, for every kind of structure."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Inexact, Num

from kfc_jax.product.dot_general import DotGeneral
from kfc_jax.product.form_dense import dense_kernel
from kfc_jax.product.low_rank import low_rank_matmul
from kfc_jax.product.matmul import kronecker_matmul
from kfc_jax.structures import (
    BlockDiagonalStructure,
    KroneckerStructure,
    LayerStructure,
    LowRankStructure,
)

Inputs = Num[Array | np.ndarray, "*batch inputs"]
Arrays = Mapping[str, Array | np.ndarray]


@functools.singledispatch
def kernel_matmul(
    structure: LayerStructure,
    x: Inputs,
    arrays: Arrays,
    *,
    precision: lax.PrecisionLike = None,
    dot_general: DotGeneral | None = None,
    **options: Any,
) -> Inexact[Array, "*batch features"]:
    """Returns ``x @ kernel`` for the kernel that a layer's arrays stand for.

    By default the kernel is formed; a kind with a better way registers its own function:
    ``@kernel_matmul.register``.

    Args:
      structure: how the kernel is stored; the function depends on its class.
      x: the inputs ``(..., inputs)``.
      arrays: the arrays by their names, of the shapes ``structure.array_shapes``.
      precision: the precision, as in ``jax.lax.dot_general``.
      dot_general: a replacement for ``jax.lax.dot_general``, by which all products are done.
      **options: what the kind's own function takes besides, such as ``strategy``.

    Raises:
      ValueError: if the arrays do not have these shapes.
    """
    if options:
        raise TypeError(f"A product with {type(structure).__name__} takes no {min(options)}.")
    dot: Any = dot_general or lax.dot_general
    kernel = dense_kernel(structure, arrays)
    return dot(x, kernel, (((jnp.ndim(x) - 1,), (0,)), ((), ())), precision=precision)


@kernel_matmul.register
def _kronecker(
    structure: KroneckerStructure, x: Inputs, arrays: Arrays, **options: Any
) -> Inexact[Array, "*batch features"]:
    return kronecker_matmul(x, structure.factors_of(arrays), structure=structure, **options)


@kernel_matmul.register
def _low_rank(
    structure: LowRankStructure, x: Inputs, arrays: Arrays, **options: Any
) -> Inexact[Array, "*batch features"]:
    u, v = (arrays[name] for name in structure.array_shapes)
    return low_rank_matmul(x, u, v, **options)


@kernel_matmul.register
def _block_diagonal(
    structure: BlockDiagonalStructure,
    x: Inputs,
    arrays: Arrays,
    *,
    precision: lax.PrecisionLike = None,
    dot_general: DotGeneral | None = None,
) -> Inexact[Array, "*batch features"]:
    groups = structure.groups_of(x)
    (blocks,) = arrays.values()
    dot: Any = dot_general or lax.dot_general
    last = groups.ndim - 1
    numbers = (((last,), (1,)), ((last - 1,), (0,)))
    outputs = dot(groups, blocks, numbers, precision=precision)
    return jnp.moveaxis(outputs, 0, -2).reshape(*x.shape[:-1], structure.features)
