"""The functions that compete in a case, on JAX's device: each is `x` times a kernel."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.benchmarking.cases import Case
from kfc_jax import KroneckerStructure, kronecker_matmul, materialize
from kfc_jax.product import low_rank_matmul
from kfc_jax.product.cost_model import costs_of
from kfc_jax.product.native import host_of
from kfc_jax.product.planner import make_plan, total
from kfc_jax.product.program import STRATEGIES

NAMES = ("dense", "einsum", "low_rank", "low_rank_by_xla", "planned", *STRATEGIES)
"""`einsum`: one `jnp.einsum` over the three operands; `low_rank`: two matrices with as many
parameters, as `LowRankDense` multiplies by them, `low_rank_by_xla`: by two products; `planned`:
our layer as it is; the rest: our layer by a forced strategy."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """A function to time.

    Attributes:
      name: one of NAMES.
      function: a function of `arguments`, which returns the result, and in training also the
        gradients by `x` and the parameters.
      arguments: arrays.
      flops: the FLOPs of one call.
      plan: the plan in words, for our layer.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    flops: float
    plan: str = ""


def contenders(case: Case) -> Iterator[Contender]:
    """Yields the contenders of a case, on the same inputs and, low rank apart, the same kernel."""
    arrays, structure = case.arrays(), case.structure
    x, g = arrays["x"], arrays["g"]
    factors = ((arrays["a"], arrays["b"]),)

    def contender(name: str, product: Callable, parameters: Any, flops: float, plan: str = ""):
        if case.pass_ == "forward":
            return Contender(name, product, (x, parameters), flops, plan)
        function = functools.partial(forward_and_backward, product)
        return Contender(name, function, (x, parameters, g), flops, plan)

    kernel = jax.jit(functools.partial(materialize, structure=structure))(factors)
    yield contender("dense", jnp.matmul, kernel, case.dense_flops)
    naive = functools.partial(naive_einsum, structure)
    yield contender("einsum", naive, factors, einsum_flops(structure, case.batch) * case.products)
    matrices = low_rank_matrices(structure)
    flops = 2 * case.batch * sum(matrix.size for matrix in matrices) * case.products
    yield contender("low_rank", lambda x, pair: low_rank_matmul(x, *pair), matrices, flops)
    yield contender("low_rank_by_xla", lambda x, pair: x @ pair[0] @ pair[1], matrices, flops)
    for name in ("planned", *STRATEGIES):
        strategy = "auto" if name == "planned" else name
        flops, plan = _planned(case, strategy)
        product = functools.partial(_ours, structure, strategy)
        yield contender(name, product, factors, flops, plan)


def forward_and_backward(product: Callable, x: Array, parameters: Any, g: Array) -> Any:
    """Returns the product, and the gradients of ``sum(product * g)`` by ``x`` and parameters."""
    y, transpose = jax.vjp(product, x, parameters)
    return y, transpose(g)


def naive_einsum(
    structure: KroneckerStructure, x: Float[Array, "batch inputs"], factors: Any
) -> Float[Array, "batch features"]:
    """Multiplies as the formula of the product is written down, for one term of two factors."""
    (term,) = structure.terms
    (n1, _), (n2, _) = term.shapes
    x = jnp.pad(x, ((0, 0), (0, term.inputs - structure.inputs)))
    y = jnp.einsum("bij,rik,rjl->bkl", x.reshape(-1, n1, n2), *factors[0])
    return y.reshape(-1, term.features)[:, : structure.features]


def einsum_flops(structure: KroneckerStructure, batch: int) -> float:
    """Returns the FLOPs of `naive_einsum` in the order that `jnp.einsum` takes."""
    (term,) = structure.terms
    (n1, m1), (n2, m2) = term.shapes
    shapes = ((batch, n1, n2), (term.rank, n1, m1), (term.rank, n2, m2))
    operands = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    _, information = jnp.einsum_path("bij,rik,rjl->bkl", *operands)
    return float(information.opt_cost)


def low_rank_matrices(structure: KroneckerStructure) -> tuple[Array, Array]:
    """Returns two matrices with about as many parameters as the structure, at least rank 1."""
    inputs, features = structure.inputs, structure.features
    rank = max(1, round(structure.num_parameters / (inputs + features)))
    rng = np.random.default_rng(0)
    shapes = ((inputs, rank), (rank, features))
    u, v = (jnp.asarray(rng.standard_normal(shape, np.float32)) for shape in shapes)
    return u, v


def floor_work(case: Case) -> tuple[float, float]:
    """Returns the FLOPs and the bytes that the product needs, whatever the strategy.

    FLOPs: the cheapest order, or with the kernel formed; forward and backward are three times the
    forward pass (nothing computed again). Bytes: every input, result and gradient once.
    """
    structure = case.structure
    arrays = case.batch * (case.inputs + case.features) + structure.num_parameters
    # In training also the gradients of all of these, one read and two written.
    passes = 2 if case.pass_ == "training" else 1
    return case.products * structure.flops(case.batch), 4.0 * passes * arrays


def floor_seconds(case: Case, peak_flops: float, bandwidth: float) -> float:
    """Returns the time below which no strategy gets on a machine of that peak and bandwidth."""
    flops, bytes_ = floor_work(case)
    return max(flops / peak_flops, bytes_ / bandwidth)


def _ours(structure: KroneckerStructure, strategy: str, x: Array, factors: Any) -> Array:
    return kronecker_matmul(x, factors, structure=structure, strategy=strategy)


def _planned(case: Case, strategy: str) -> tuple[float, str]:
    """Returns FLOPs and plans, in words, of the passes of a case."""
    platform = jax.default_backend()
    costs, host = costs_of(platform), host_of(platform)
    flops, words = 0.0, []
    for backward in (False, True)[: 2 if case.pass_ == "training" else 1]:
        plan = make_plan(
            case.structure, case.batch, costs, strategy=strategy, backward=backward, host=host
        )
        flops += total(plan).flops + total(plan).native_flops
        for program in plan:
            order = "A first" if program.left_first else "B first"
            words.append(
                program.strategy
                if program.strategy == "materialize"
                else f"native {order}"
                if program.strategy == "native"
                else f"{program.strategy} {order} chunk {program.chunk}"
            )
    return flops if math.isfinite(flops) else 0.0, ", then ".join(words)
