"""Kernels of machine code for the CPU, one for each structure, made when a program is lowered.

XLA's products of small matrices reach about a half of what a CPU can do. Here LLVM's IR is written
for exactly one term of two factors, compiled by LLVM, which comes in the wheel of `llvmlite`, and
handed to XLA as a function that it calls. Where none can be made, XLA's own programs do the work.

- `multiply`, `gradients`: the product with a term of two factors, and its gradients.
- `Kernel`, `make_kernel`: what a kernel's code depends on, and what it costs.
- `Host`, `host_or_none`: the CPU that kernels are made for.
- `unavailable`: why there are no kernels, if there are none.
- `SWITCH`: the environment variable that turns them off.
"""

from kfc_jax.product.native.host import SWITCH, Host, host_or_none, unavailable
from kfc_jax.product.native.kernels import Kernel, make_kernel
from kfc_jax.product.native.primitive import gradients, multiply

__all__ = [
    "SWITCH",
    "Host",
    "Kernel",
    "gradients",
    "host_or_none",
    "make_kernel",
    "multiply",
    "unavailable",
]
