"""The rearrangement that turns Kronecker products into outer products.

Van Loan & Pitsianis, Approximation with Kronecker Products (1993): move the entries of a kernel so
that the two indices of each factor become one axis. A Kronecker product ``F_1 (x) ... (x) F_N``
becomes the outer product of its factors' entries, a sum of ``rank`` of them a tensor of (CP) rank
``rank``, and the Frobenius norm stays. All arrays here are NumPy arrays on the host; a term's
factors are *vectors*, arrays ``(rank, n_k * m_k)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from kfc_jax.structures import Shape

Vectors = Sequence[Float[np.ndarray, "rank _"]]
"""The factors of a term as vectors: a rank that all share, and a size of its own for each."""


def rearrange(
    kernel: Float[np.ndarray, "rows columns"], shapes: Shape
) -> Float[np.ndarray, "*axes"]:
    """Returns the tensor ``(n_1*m_1, ..., n_N*m_N)`` of a kernel ``(prod n_k, prod m_k)``."""
    rows, columns = zip(*shapes, strict=True)
    axes = [axis for k in range(len(shapes)) for axis in (k, len(shapes) + k)]
    return kernel.reshape(*rows, *columns).transpose(axes).reshape([n * m for n, m in shapes])


def restore(
    tensor: Float[np.ndarray, "*axes"],
    shapes: Shape,
    out: Float[np.ndarray, "rows columns"] | None = None,
) -> Float[np.ndarray, "rows columns"]:
    """Returns the kernel ``(prod n_k, prod m_k)`` that ``rearrange`` gives ``tensor`` for.

    It is written into ``out`` if given: the top left corner of it that ``out`` has room for.
    """
    rows, columns = zip(*shapes, strict=True)
    size = (math.prod(rows), math.prod(columns))
    axes = [*range(0, 2 * len(shapes), 2), *range(1, 2 * len(shapes), 2)]
    kernel = tensor.reshape([side for shape in shapes for side in shape]).transpose(axes)
    if out is None:
        return kernel.reshape(size)
    if out.shape == size:  # no second copy of a large kernel
        out.reshape(*rows, *columns)[...] = kernel
    else:
        out[...] = kernel.reshape(size)[: out.shape[0], : out.shape[1]]
    return out


def khatri_rao(vectors: Vectors) -> Float[np.ndarray, "rank size"]:
    """Returns for every rank the flattened outer product of the vectors."""
    product, *rest = vectors
    for other in rest:
        product = (product[:, :, None] * other[:, None, :]).reshape(len(product), -1)
    return product


def add_product(tensor: Float[np.ndarray, "*axes"], vectors: Vectors, sign: int = 1) -> None:
    """Adds ``sign`` times the sum of outer products to ``tensor``, in place.

    The tensor must be contiguous. It is done in blocks, so that no second tensor is needed.
    """
    if len(vectors) == 1:
        tensor += sign * vectors[0].sum(0)
        return
    matrix = tensor.reshape(len(tensor), -1)
    left, right = vectors[0].T * sign, khatri_rao(vectors[1:])
    block = max(1, 2**22 // matrix.shape[1])
    for start in range(0, len(matrix), block):
        matrix[start : start + block] += left[start : start + block] @ right
