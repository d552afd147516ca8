"""Whole models: plan what becomes of every dense layer, convert the parameters, and back.

Works on the layers of any Flax model that `find_layers` finds, and on bare parameters, in which a
dense layer is one that holds a matrix ``kernel``, and perhaps a ``bias``, and nothing else.

The error that is kept small is the root of the sum of the layers' squared relative errors: to
first order, what the layers do to the signal adds up. With `InputStatistics`, a layer's error is
that of its output, otherwise that of its kernel.
"""

from __future__ import annotations

import fnmatch
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kfc_jax.compress.allocation import least_cost, least_error
from kfc_jax.compress.budget import ERROR, FLOPS, Budget
from kfc_jax.compress.layer_options import LayerOptions
from kfc_jax.compress.layer_statistics import (
    Statistics,
    check_paths,
    error_statistics_of,
    list_layers,
)
from kfc_jax.compress.model_layers import ModelLayers, dense_layers
from kfc_jax.compress.options import Choice, KernelOptions, methods
from kfc_jax.compress.plan import CompressionPlan
from kfc_jax.structures import DenseStructure, LayerStructure, LowRankStructure

_MAX_ROUNDS = 12

_log = logging.getLogger(__name__)


def plan_compression(
    params: Mapping[str, Any] | ModelLayers,
    budget: Budget | int | float,
    *,
    method: str = "auto",
    statistics: Statistics | None = None,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    structures: Mapping[str, str | LayerStructure] | None = None,
    min_matrix_rank: float = 0.0,
    max_shapes: int = 32,
) -> CompressionPlan:
    """Chooses a structure for every dense layer, so that the total error is as small as it can be.

    The options of a layer are all shapes of two factors at every rank (positions (x) channels of a
    flattened feature map are among them), low rank, the ranks of any other kind that has them, and
    to leave the layer. None has more parameters or FLOPs than the dense layer. The budget is shared
    out exactly: for the errors that were found, no other choice within the budget is better.

    Without statistics, the errors are those of the optimal decompositions; for kernels above four
    million entries they are close upper bounds until the choice is made. With statistics, shapes
    are compared by a few sweeps, and the chosen ones are decomposed in full; ranks at which a sweep
    would take many seconds are left out.

    Example::

      >>> import jax.numpy as jnp
      >>> from kfc_jax import plan_compression
      >>> kernel = jnp.kron(jnp.eye(6, 8), jnp.arange(64.0).reshape(8, 8))
      >>> plan = plan_compression({"fc": {"kernel": kernel, "bias": jnp.zeros(64)}}, 0.06)
      >>> plan.structures, plan.parameters, round(plan.error, 3)
      ({'fc': '1:6x8*8x8'}, 176, 0.0)

    Args:
      params: the layers of a model, as `find_layers` finds them, or its parameters, of any floating
        type: then layers are found by their names alone.
      budget: a `Budget`; a float is a fraction of the model's parameters, an integer their number.
        For an error bound, the fewest parameters are found.
      method: ``kfc``, ``low_rank`` or ``auto``, which takes the better one for each layer.
      statistics: what the layers see, by their paths, as `input_statistics` finds it, or samples of
        it ``(..., inputs)``.
      include: patterns (``*/mlp/*``) of the paths of layers that may be replaced.
      exclude: patterns of those that may not, out of the included ones.
      structures: structures that are fixed by hand, by path: ``dense``, ``rank 3``, or the text
        form of a `KroneckerStructure`, also of several terms.
      min_matrix_rank: the fraction of its full matrix rank that a new kernel must be able to have.
        Some shapes, such as ``400x1*2x500``, and low rank make a bottleneck of the layer. Often
        their error is the smallest, but after training, shapes without a bottleneck are better; so
        take ``kfc_jax.structures.TRAINABLE_MATRIX_RANK`` before training. With method ``low_rank``
        it is not considered.
      max_shapes: The largest number of shapes to try. It matters only for kernels above four
        million entries (half of the tries go to the shapes with the smallest factors, half are
        spread evenly over the others) and with `statistics` (the most promising shapes are tried).

    Raises:
      ValueError: if the budget cannot be met (the message names the smallest one that can), a
        kernel has numbers that are not finite, or an argument does not suit the parameters.
    """
    if not isinstance(budget, Budget):
        budget = Budget.parameters(budget)
    if method not in methods():
        raise ValueError(f"method is {method!r}; take one of {', '.join(methods())}.")
    if not 0 <= min_matrix_rank <= 1:
        raise ValueError(f"min_matrix_rank is {min_matrix_rank}; it must be a fraction, 0 to 1.")
    if max_shapes < 1:
        raise ValueError(f"max_shapes is {max_shapes}; it must be at least 1.")
    layers, dense = dense_layers(params), DenseStructure.kind
    for layer in layers.values():
        layer.check_numbers()
    fixed = {path: str(structure) for path, structure in (structures or {}).items()}
    check_paths(fixed, layers)
    for patterns in (include, exclude):
        for pattern in patterns:
            if pattern != "*" and not fnmatch.filter(layers, pattern):
                raise ValueError(f"No dense layer matches {pattern!r}; {list_layers(layers)}")
    for path in layers:
        is_open = any(fnmatch.fnmatchcase(path, pattern) for pattern in include)
        if not is_open or any(fnmatch.fnmatchcase(path, pattern) for pattern in exclude):
            fixed.setdefault(path, dense)

    options: list[LayerOptions] = []
    for path, layer in layers.items():
        count = math.prod(layer.stack_shape)
        weights: Any = [None] * count
        if fixed.get(path) != dense:
            weights = error_statistics_of(layer, statistics)
            if statistics is not None and not layer.is_table and None in weights:
                _log.warning("Layer %s has seen nothing but zeros: it is left dense.", path)
                fixed[path], weights = dense, [None] * count
        kernels = [
            KernelOptions(
                path,
                kernel,
                of_kernel,
                cost=_flops if budget.kind == FLOPS else _parameters,
                method=method,
                structure=fixed.get(path),
                min_matrix_rank=0.0 if method == LowRankStructure.kind else min_matrix_rank,
                max_shapes=max_shapes,
            )
            for kernel, of_kernel in zip(layer.each_matrix(), weights, strict=True)
        ]
        options.append(LayerOptions(layer, kernels))
    other = sum(math.prod(np.shape(leaf)) for leaf in jax.tree.leaves(layers.params)) - sum(
        math.prod(layer.kernel.shape) for layer in layers.values()
    )
    limit = None if budget.kind == ERROR else _kernel_limit(budget, options, layers, other)
    for option in options:
        rest = sum(o.min_cost for o in options) - option.min_cost
        option.estimate(None if limit is None else limit - rest)
    chosen = _choose(options, budget, limit)
    plans = tuple(option.plan(choice) for option, choice in zip(options, chosen, strict=True))
    return CompressionPlan(plans, other, str(budget), method)


def _choose(options: Sequence[LayerOptions], budget: Budget, limit: int | None) -> list[Choice]:
    """Allocates by what is known, finds the truth about what was chosen, and so on."""

    def allocate(*, measured: bool = False) -> list[Choice]:
        fronts, choices = zip(*(option.front(measured=measured) for option in options), strict=True)
        indices = least_cost(fronts, budget.value) if limit is None else least_error(fronts, limit)
        return [of_layer[i] for of_layer, i in zip(choices, indices, strict=True)]

    if not options:
        return []
    for option, choice in zip(options, allocate(), strict=True):
        option.compare(option.cost_of(choice))
    for _ in range(_MAX_ROUNDS):
        chosen = allocate()
        # All are measured, so this is a list and no generator.
        if not any([o.measure(choice) for o, choice in zip(options, chosen, strict=True)]):
            return chosen
    return allocate(measured=True)


def _kernel_limit(
    budget: Budget,
    options: Sequence[LayerOptions],
    layers: ModelLayers,
    other: int,
) -> int:
    """Returns what the budget leaves for the kernels."""
    size = sum(math.prod(layer.kernel.shape) for layer in layers.values())
    fixed, dense = (0, 2 * size) if budget.kind == FLOPS else (other, other + size)
    limit, lowest = budget.limit(dense), fixed + sum(option.min_cost for option in options)
    if limit < lowest:
        outside = f", {other:,} of them outside the dense kernels" if fixed else ""
        raise ValueError(
            f"The budget {budget} allows {limit:,} {budget.kind}, but these layers cannot have "
            f"fewer than {lowest:,} ({lowest / dense:.2%} of {dense:,}{outside}): raise it to that"
            + _other_remedy(options, layers)
        )
    return limit - fixed


def _other_remedy(options: Sequence[LayerOptions], layers: ModelLayers) -> str:
    """Returns what else helps beside a larger budget."""
    kept = [o.path for o in options if o.min_cost == math.prod(layers[o.path].kernel.shape)]
    if kept:
        return f", or let more layers be replaced ({', '.join(kept)})."
    if layers.is_traced:
        return "; there is nothing else in the model that can be replaced."
    return (
        "; layers were found by their names alone, so give the plan find_layers(model, ...), which "
        "may find more."
    )


def _parameters(structure: LayerStructure) -> int:
    return structure.num_parameters


def _flops(structure: LayerStructure) -> int:
    return structure.flops(1)
