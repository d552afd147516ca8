"""Multiplication by a kernel that is stored as factors, in the fastest way that is known.

- `kronecker_matmul`: `x @ kernel`, factor by factor.
- `kronecker_rows`: `kernel[indices]`, from the rows of the factors alone.
- `low_rank_matmul`: `x @ u @ v` for two thin matrices.
- `kernel_matmul`: `x @ kernel` for a layer's arrays, of whatever kind.
- `materialize`: the dense kernel that factors stand for.
- `dense_kernel`: the dense kernel that a layer's arrays stand for, of whatever kind.
- `explain`, `Explanation`: how a product will be done, and what it costs.
- `Factors`: the type of factors.
- `native_unavailable`: why no native kernels can be made here; empty if they can.
- `STRATEGIES`: the ways to multiply.
"""

from kfc_jax.product.explanation import Explanation, explain
from kfc_jax.product.form_dense import dense_kernel
from kfc_jax.product.kernel_product import kernel_matmul
from kfc_jax.product.low_rank import low_rank_matmul
from kfc_jax.product.matmul import Factors, kronecker_matmul, materialize
from kfc_jax.product.native import unavailable as native_unavailable
from kfc_jax.product.program import STRATEGIES
from kfc_jax.product.rows import kronecker_rows

__all__ = [
    "STRATEGIES",
    "Explanation",
    "Factors",
    "dense_kernel",
    "explain",
    "kernel_matmul",
    "kronecker_matmul",
    "kronecker_rows",
    "low_rank_matmul",
    "materialize",
    "native_unavailable",
]
