"""Kernels of machine code for the CPU, one for each structure, made when a program is lowered.

XLA's products of small matrices reach about a half of what a CPU can do. Here LLVM's IR is written
for exactly one term of two factors, compiled by LLVM, which comes in the wheel of `llvmlite`, and
handed to XLA as a function that it calls. Where none can be made, XLA's own programs do the work.

- `multiply`, `gradients`: the product with a term of two factors, and its gradients.
- `multiply_low_rank`, `gradients_low_rank`: the product with two thin matrices, and its gradients;
  `suits_low_rank`, `gains_forward`: whether it gains by them.
- `form`, `gradients_of_factors`: the kernel that two factors stand for, and the way back.
- `Kernel`, `make_kernel`: what a product's code depends on, and what it costs.
- `Former`, `COMPUTED_WITH`: what the code that forms a kernel depends on, and types it is made for.
- `Host`, `host_of`: the CPU that kernels are made for.
- `unavailable`: why there are no kernels, if there are none.
- `SWITCH`: the environment variable that turns them off.
"""

from kfc_jax.product.native.formed_kernels import COMPUTED_WITH, form, gradients_of_factors
from kfc_jax.product.native.forming import Former
from kfc_jax.product.native.host import SWITCH, Host, host_of, unavailable
from kfc_jax.product.native.kernels import Kernel, make_kernel
from kfc_jax.product.native.low_rank_products import (
    gains_forward,
    gradients_low_rank,
    multiply_low_rank,
    suits_low_rank,
)
from kfc_jax.product.native.products import gradients, multiply

__all__ = [
    "COMPUTED_WITH",
    "SWITCH",
    "Former",
    "Host",
    "Kernel",
    "form",
    "gains_forward",
    "gradients",
    "gradients_low_rank",
    "gradients_of_factors",
    "host_of",
    "make_kernel",
    "multiply",
    "multiply_low_rank",
    "suits_low_rank",
    "unavailable",
]
