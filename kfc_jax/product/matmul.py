"""The maths of a Kronecker-factored kernel: multiply by it, or form it.

Order convention, that of ``jnp.kron``: indices are row-major, the first factor's the slow ones,
``(A (x) B)[i1*n2 + i2, j1*m2 + j2] = A[i1, j1] * B[i2, j2]``. The factors of one term are arrays
``(rank, n_k, m_k)``, and the term is the sum over the leading axis of their Kronecker products.

A product ``x @ (A (x) B)`` is done factor by factor (Zhou & Wu, arXiv 1507.05775, section 3.1), in
the order and with the strategy that ``kfc_jax.product.planner`` chooses for the structure, the
batch and the platform. The choice among platforms is made when a program is lowered. The backward
pass has a plan of its own; it keeps only the inputs and the factors, and computes the rest again.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Inexact, Num

from kfc_jax.product.cost_model import costs_of
from kfc_jax.product.derivatives import Product, differentiable
from kfc_jax.product.dot_general import DotGeneral, is_replaced
from kfc_jax.product.factors import contract_in_order, form_kernel
from kfc_jax.product.native import host_of
from kfc_jax.product.planner import make_plan
from kfc_jax.product.program import Program, check_strategy
from kfc_jax.product.sharding import gather, vary_alike
from kfc_jax.product.shares import Share, axes_of, find_share, flatten_samples, shared_out
from kfc_jax.product.strategies import gradients, multiply
from kfc_jax.structures import KroneckerStructure, KroneckerTerm

Factors = Sequence[Sequence[Inexact[Array | np.ndarray, "_ _ _"]]]
"""The factors ``(rank, n_k, m_k)`` of every term; a term has its own rank, a factor its shape."""


def structure_of(factors: Factors) -> KroneckerStructure:
    """Returns the structure that the shapes of ``factors`` spell, without padding.

    Raises:
      ValueError: if the arrays are not three-dimensional, the ranks within a term differ, or the
        terms do not give kernels of the same size.
    """
    terms = []
    for index, term in enumerate(factors):
        shapes = [jnp.shape(factor) for factor in term]
        if not shapes or any(len(s) != 3 for s in shapes) or len({s[0] for s in shapes}) > 1:
            raise ValueError(
                f"The factors of term {index} have shapes {shapes}: each term needs at least one, "
                "every one of shape (rank, rows, columns) with the same rank."
            )
        terms.append(KroneckerTerm(tuple((n, m) for _, n, m in shapes), shapes[0][0]))
    return KroneckerStructure(tuple(terms))


def kronecker_matmul(
    x: Num[Array | np.ndarray, "*batch inputs"],
    factors: Factors,
    *,
    structure: KroneckerStructure | None = None,
    precision: lax.PrecisionLike = None,
    dot_general: DotGeneral | None = None,
    strategy: str = "auto",
) -> Inexact[Array, "*batch features"]:
    """Returns ``x @ kernel`` for the kernel that ``factors`` stand for.

    Works under ``jit``, ``grad`` (any number of times), ``jvp``, ``vmap``, ``remat`` and
    ``shard_map``, and in any type of real or complex floats; the result has the promoted type of
    ``x`` and the factors. ``explain`` shows how it is done.

    Args:
      x: the inputs ``(..., inputs)``, of any type of numbers; leading axes may be absent or empty.
      factors: for every term a sequence of N arrays ``(rank, n_k, m_k)``.
      structure: the structure, which is needed only if the terms are padded: it tells the kernel's
        true size.
      precision: the precision, as in ``jax.lax.dot_general``.
      dot_general: a replacement for ``jax.lax.dot_general``. With one, the factors are contracted
        one after the other, the whole batch at once, by the same products for every batch.
      strategy: how to multiply, one of ``kfc_jax.product.STRATEGIES``; ``auto``: what is
        predicted to be fastest.

    Raises:
      ValueError: if the factors do not have the structure's shapes or form no structure (a rank
        may be above the term's `max_rank`), ``x`` does not have its inputs, or there is no such
        strategy.
    """
    x = jnp.asarray(x)
    structure = checked_structure(factors, structure)
    check_strategy(strategy)
    if x.ndim == 0 or x.shape[-1] != structure.inputs:
        raise ValueError(
            f"x of shape {x.shape} cannot be multiplied by a kernel of {structure.inputs} "
            f"inputs and {structure.features} features ('{structure}'): the last axis of x must "
            f"be {structure.inputs}."
        )
    dtype = jnp.result_type(x, *(factor for term in factors for factor in term))
    arrays = tuple(tuple(jnp.asarray(f, dtype) for f in term) for term in factors)
    flat = flatten_samples(x.astype(dtype))
    # A plan needs a batch in numbers (jax.export knows symbols), and who replaces JAX's product
    # wants to see products.
    if dot_general is None and (not isinstance(flat.shape[0], int) or is_replaced()):
        dot_general = lax.dot_general
    share = None
    if dot_general is None:
        share = _share_of(structure, flat, arrays)
        # Loops and new layouts are not for samples that stay split by type.
        dot_general = lax.dot_general if share is None and axes_of(flat, 0) else None
    if share is not None:
        y = _shared_out(_Planned(structure, precision, strategy), share, flat, arrays)
    else:
        flat, arrays = gather(flat, keep=1), jax.tree.map(gather, arrays)
        if dot_general is not None:
            dot = functools.partial(dot_general, precision=precision)
            y = _factor_by_factor(structure, dot, flat, arrays)
        else:
            planned = _Planned(structure, precision, strategy)
            y = differentiable(planned, *vary_alike(flat, arrays))
    return y.reshape(*x.shape[:-1], structure.features)


def materialize(
    factors: Factors, *, structure: KroneckerStructure | None = None
) -> Inexact[Array, "inputs features"]:
    """Returns the dense kernel that ``factors`` stand for, ``sum_t sum_r F_1 (x) ... (x) F_N``.

    Args:
      factors: for every term a sequence of N arrays ``(rank, n_k, m_k)``.
      structure: the structure, which is needed only if the terms are padded: it tells the kernel's
        true size.

    Raises:
      ValueError: if the factors do not have the structure's shapes, or form no structure.
    """
    structure = checked_structure(factors, structure)
    dtype = jnp.result_type(*(factor for term in factors for factor in term))
    kernels = [
        form_kernel(term, [gather(jnp.asarray(a, dtype)) for a in arrays], lax.Precision.HIGHEST)
        for term, arrays in zip(structure.terms, factors, strict=True)
    ]
    return functools.reduce(
        operator.add, (k[: structure.inputs, : structure.features] for k in kernels)
    )


def checked_structure(factors: Factors, structure: KroneckerStructure | None) -> KroneckerStructure:
    """Returns the structure, by default the one that the shapes of ``factors`` spell.

    Raises:
      ValueError: if the factors do not have the structure's shapes, or form no structure.
    """
    if structure is None:
        return structure_of(factors)
    shapes = tuple(tuple(jnp.shape(factor) for factor in term) for term in factors)
    expected = tuple(tuple((t.rank, *shape) for shape in t.shapes) for t in structure.terms)
    if shapes != expected:
        raise ValueError(
            f"The factors have shapes {shapes}, but structure '{structure}' needs {expected}."
        )
    return structure


@dataclasses.dataclass(frozen=True)
class _Planned(Product):
    """A product in the planned way, and its gradients: what is static in both."""

    structure: KroneckerStructure
    precision: lax.PrecisionLike
    strategy: str

    def multiply(self, x: Array, factors: Any) -> Array:
        """Returns ``x @ kernel``; differentiated as it is, it keeps inputs and factors alone."""
        return _multiply(self, x, factors)

    def gradients(self, x: Array, factors: Any, g: Array, *, of_samples: bool) -> tuple[Array, Any]:
        """Returns the gradients of inputs and factors, by a plan of their own."""
        del of_samples  # no plan leaves them out
        return _gradients(self, x, factors, g)

    def on_each_platform(
        self, run: Callable[..., Any], x: Array, *arrays: Any, backward: bool = False
    ) -> Any:
        """Returns ``run(plan, x, *arrays)`` with the plan for the platform that it is lowered for.

        JAX knows the platform only then, so that all alternatives are traced.
        """
        plans = {
            platform: make_plan(
                self.structure,
                x.shape[0],
                costs_of(platform),
                dtype=x.dtype.name,
                strategy=self.strategy,
                backward=backward,
                host=host_of(platform),
            )
            for platform in ("cpu", "tpu", "cuda")
        }
        if len(set(plans.values())) == 1:
            return run(plans["cpu"], x, *arrays)
        # One branch for each plan: JAX joins those that are the same function.
        branches = {plan: functools.partial(run, plan) for plan in plans.values()}
        default = branches[plans.pop("cuda")]
        special = {platform: branches[plan] for platform, plan in plans.items()}
        special = {platform: run for platform, run in special.items() if run is not default}
        return lax.platform_dependent(x, *arrays, default=default, **special)


def _share_of(structure: KroneckerStructure, x: Array, factors: Any) -> Share | None:
    """Returns how a product is shared out over a mesh, by the first factor of every term."""
    firsts = [factors_of_term[0] for factors_of_term in factors]
    rows = [axes_of(first, 1) for first in firsts]
    columns = [axes_of(first, 2) for first in firsts]
    if structure.is_padded:  # what is cut off lies on one device
        rows, columns = [()], [()]
    share = find_share(x, rows, columns)
    if share is not None and not _is_possible(structure, share):
        share = find_share(x, [()], [()])
    return share


def _is_possible(structure: KroneckerStructure, share: Share) -> bool:
    """Says whether shares of the terms have ranks that are of use, as those of terms must."""
    return all(
        t.rank <= KroneckerTerm(_shapes_of_share(t, share)).max_rank for t in structure.terms
    )


def _shapes_of_share(term: KroneckerTerm, share: Share) -> tuple[tuple[int, int], ...]:
    (n, m), *others = term.shapes
    return (n // share.parts(share.rows), m // share.parts(share.columns)), *others


# Jitted, so that a call outside of jit does not trace and compile anew each time.
@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)
def _shared_out(planned: _Planned, share: Share, x: Array, factors: Any) -> Array:
    """Every device has a structure, and so a plan, of its own."""
    structure = planned.structure
    if share.rows or share.columns:
        shapes = [(_shapes_of_share(term, share), term.rank) for term in structure.terms]
        structure = KroneckerStructure(tuple(KroneckerTerm(*term) for term in shapes))
    local = dataclasses.replace(planned, structure=structure)
    first = PartitionSpec(None, share.rows, share.columns)
    specs = tuple((first, *(PartitionSpec() for _ in term[1:])) for term in factors)
    return shared_out(functools.partial(differentiable, local), share, x, factors, specs)


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _multiply(planned: _Planned, x: Array, factors: Any) -> Array:
    def run(plan: tuple[Program, ...], x: Array, factors: Any) -> Array:
        outputs = (multiply(p, planned.structure, planned.precision, x, factors) for p in plan)
        return functools.reduce(operator.add, outputs)

    return planned.on_each_platform(run, x, factors)


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _gradients(planned: _Planned, x: Array, factors: Any, g: Array) -> tuple[Array, Any]:
    def run(plan: tuple[Program, ...], x: Array, factors: Any, g: Array) -> tuple[Array, Any]:
        call = (planned.structure, planned.precision, x, factors, g)
        each = [gradients(program, *call) for program in plan]
        return jax.tree.map(lambda *parts: functools.reduce(operator.add, parts), *each)

    return planned.on_each_platform(run, x, factors, g, backward=True)


def _factor_by_factor(
    structure: KroneckerStructure, dot: DotGeneral, x: Inexact[Array, "batch inputs"], factors: Any
) -> Inexact[Array, "batch features"]:
    """Contracts the whole batch with the factors of every term, one after the other."""
    outputs = []
    for term, arrays in zip(structure.terms, factors, strict=True):
        padded = jnp.pad(x, ((0, 0), (0, term.inputs - structure.inputs)))
        outputs.append(contract_in_order(padded, term, arrays, dot)[:, : structure.features])
    return functools.reduce(operator.add, outputs)
