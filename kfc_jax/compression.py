"""Whole models: plan what becomes of every dense layer, convert the parameters, and back.

Works on the parameters of any Flax model, a nested dict. A dense layer is one that holds a matrix
``kernel``, and perhaps a ``bias``, and nothing else; all other layers are left alone.

The error that is kept small is the root of the sum of the layers' squared relative errors: to
first order, what the layers do to the signal adds up. With `InputStatistics`, a layer's error is
that of its output, otherwise that of its kernel.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kfc_jax.allocation import least_cost, least_error
from kfc_jax.budgets import ERROR, FLOPS, Budget
from kfc_jax.compression_plan import (
    DENSE,
    LOW_RANK,
    CompressionPlan,
    LayerPlan,
    Structures,
    read_structure,
    structures_of,
)
from kfc_jax.contraction import Factors, materialize
from kfc_jax.decomposition import DecompositionReport, low_rank, nearest_kronecker_sum
from kfc_jax.dense_layers import (
    DenseLayer,
    Statistics,
    check_paths,
    copied,
    dense_layers,
    leaves_of_layers,
    node,
    they_are,
    weights_of,
)
from kfc_jax.kernel_options import METHODS, Choice, KernelOptions
from kfc_jax.structure import KroneckerSum

_MOST_ROUNDS = 12


def plan_compression(
    params: Mapping[str, Any],
    budget: Budget | int | float,
    *,
    method: str = "auto",
    statistics: Statistics | None = None,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    structures: Mapping[str, str | KroneckerSum] | None = None,
    min_matrix_rank: float = 0.0,
    max_shapes: int = 32,
) -> CompressionPlan:
    """Chooses for every dense layer its structure, so that the total error is least.

    Options are all shapes of two factors at every rank (those of a flattened feature map as
    positions (x) channels among them), low rank, and to leave the layer; none of more parameters
    or FLOPs than the dense layer. They are shared out exactly: for the errors that were found, no
    other choice within the budget is better.

    Without statistics, the errors are those of the optimal decompositions (for kernels above four
    million entries close upper bounds, until the choice is made). With them, shapes are compared by
    a few sweeps, and the chosen ones decomposed in full; ranks at which a sweep would take many
    seconds are left out.

    Example::

      >>> import jax.numpy as jnp
      >>> from kfc_jax import plan_compression
      >>> kernel = jnp.kron(jnp.eye(6, 8), jnp.arange(64.0).reshape(8, 8))
      >>> plan = plan_compression({"fc": {"kernel": kernel, "bias": jnp.zeros(64)}}, 0.06)
      >>> plan.structures, plan.parameters, round(plan.error, 3)
      ({'fc': '1:6x8*8x8'}, 176, 0.0)

    Args:
      params: the parameters, of any floating type.
      budget: a `Budget`; a float is a fraction of the model's parameters, an integer their number.
        For an error bound, the fewest parameters are found.
      method: ``kfc``, ``low_rank`` or ``auto``, which takes for each layer the better one.
      statistics: what the layers see, by path, as `input_statistics` finds it.
      include: patterns (``*/mlp/*``) of the paths of layers that may be replaced.
      exclude: patterns of those that may not, out of the included ones.
      structures: structures that are fixed by hand, by path: ``dense``, ``rank 3``, or the text
        form of a `KroneckerSum`, also of several terms.
      min_matrix_rank: the least fraction of its full matrix rank that a new kernel must be able to
        have. Some shapes, such as ``400x1*2x500``, and low rank make a bottleneck of the layer.
        Often their error is the least, but after training shapes without one are better; so take
        0.5 before training (with method ``low_rank`` it is not considered).
      max_shapes: how many shapes are looked at where that takes long: in kernels of over four
        million entries half of them those with the smallest factors, the others evenly spread over
        the rest; with statistics the most promising ones.

    Raises:
      ValueError: if the budget cannot be met (the message names the least that can), a kernel has
        numbers that are not finite, or an argument does not suit the parameters.
    """
    if not isinstance(budget, Budget):
        budget = Budget.parameters(budget)
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; take one of {', '.join(METHODS)}.")
    if not 0 <= min_matrix_rank <= 1:
        raise ValueError(f"min_matrix_rank is {min_matrix_rank}; it must be a fraction, 0 to 1.")
    if max_shapes < 1:
        raise ValueError(f"max_shapes is {max_shapes}; it must be at least 1.")
    layers = dense_layers(params)
    fixed = {path: str(structure) for path, structure in (structures or {}).items()}
    check_paths(fixed, layers)
    for patterns in (include, exclude):
        for pattern in patterns:
            if pattern != "*" and not fnmatch.filter(layers, pattern):
                raise ValueError(f"No dense layer matches {pattern!r}; {they_are(layers)}")
    for path in layers:
        is_open = any(fnmatch.fnmatchcase(path, pattern) for pattern in include)
        if not is_open or any(fnmatch.fnmatchcase(path, pattern) for pattern in exclude):
            fixed.setdefault(path, DENSE)

    options = [
        KernelOptions(
            path,
            layer.kernel,
            None if fixed.get(path) == DENSE else weights_of(layer, statistics),
            cost=_flops if budget.kind == FLOPS else _parameters,
            method=method,
            structure=fixed.get(path),
            min_matrix_rank=0.0 if method == LOW_RANK else min_matrix_rank,
            max_shapes=max_shapes,
        )
        for path, layer in layers.items()
    ]
    other = sum(math.prod(np.shape(leaf)) for leaf in jax.tree.leaves(params)) - sum(
        math.prod(layer.kernel.shape) for layer in layers.values()
    )
    limit = None if budget.kind == ERROR else _kernel_limit(budget, options, layers, other)
    for option in options:
        rest = sum(o.least for o in options) - option.least
        option.estimate(None if limit is None else limit - rest)
    chosen = _choose(options, budget, limit)
    plans = tuple(option.plan(choice) for option, choice in zip(options, chosen, strict=True))
    return CompressionPlan(plans, other, str(budget), method)


def convert(
    params: Mapping[str, Any], plan: Structures, *, statistics: Statistics | None = None
) -> tuple[dict[str, Any], dict[str, DecompositionReport]]:
    """Returns parameters with factors in place of the kernels that the plan replaces.

    They are those of the same model with `KFCDense` (``kernel_0_0``, ...) or `LowRankDense`
    (``kernel_u``, ``kernel_v``) where `nn.Dense` stood, or of the model in a `CompressedModel`.

    Args:
      params: the parameters of the dense model.
      plan: a plan, or structures by path: ``dense``, ``rank 3``, or a `KroneckerSum` or its text.
      statistics: what the layers see: minimise the errors of their outputs. Biases then take over
        what the approximation does to the mean of the output.

    Returns:
      The new parameters (arrays that stay are shared, not copied), and a report for every layer
      that was replaced.

    Raises:
      ValueError: if the plan does not suit the parameters, a number is not finite, or the plan was
        made with statistics and there are none here.
    """
    layers, structures = dense_layers(params), structures_of(plan)
    if statistics is None and isinstance(plan, CompressionPlan) and plan.is_weighted:
        raise ValueError(
            "The plan was made for the errors of outputs, with statistics, which are missing here: "
            "give statistics=, else the factors are far worse than the plan says; or, to have the "
            "errors of kernels count, plan without them."
        )
    check_paths(structures, layers)
    parsed = {}  # all of them before the first decomposition
    for path, text in structures.items():
        LayerPlan(path, *layers[path].kernel.shape, text)
        parsed[path] = read_structure(text, *layers[path].kernel.shape)
    weights = {
        path: weights_of(layers[path], statistics) for path, (m, _) in parsed.items() if m != DENSE
    }
    new, reports = copied(params), {}
    for path, moment in weights.items():
        layer, (method, structure) = layers[path], parsed[path]
        if method == LOW_RANK:
            rank = structure.terms[0].rank
            (u, v), reports[path] = low_rank(layer.kernel, rank, second_moment=moment)
            arrays = {"kernel_u": u, "kernel_v": v}
        else:
            factors, reports[path] = nearest_kronecker_sum(
                layer.kernel, structure, second_moment=moment
            )
            arrays = {
                f"kernel_{t}_{k}": factor
                for t, term in enumerate(factors)
                for k, factor in enumerate(term)
            }
        if layer.bias is not None:
            arrays["bias"] = layer.bias
            if statistics is not None and (mean := statistics[path].mean) is not None:
                difference = np.asarray(layer.kernel, np.float64) - np.asarray(
                    _dense_kernel(arrays, method, structure), np.float64
                )
                bias = np.asarray(layer.bias, np.float64) + mean @ difference
                arrays["bias"] = jnp.asarray(bias, layer.bias.dtype)
        node(new, layer.keys[:-1])[layer.keys[-1]] = arrays
    return new, reports


def to_dense(params: Mapping[str, Any], plan: Structures) -> dict[str, Any]:
    """Returns parameters of the dense model, with the kernels that the factors stand for.

    The same arguments give the same bits. Kernels are formed in float32 at least, and have the
    factors' type.

    Args:
      params: parameters as `convert` returns them, or as trained.
      plan: the plan, or the structures by path. One that pads a layer needs the layer's size, as
        in ``2:3x3*4x4@12x11``, which those of a plan have: factors do not tell it.

    Raises:
      ValueError: if a layer of the plan is not there, has other factors, or a bias of another size.
    """
    new = copied(params)
    found = dict(leaves_of_layers(params))
    for path, text in structures_of(plan).items():
        if text == DENSE:
            continue
        if path not in found:
            raise ValueError(
                f"The parameters have no layer {path!r}; they have {', '.join(found) or 'none'}."
            )
        keys, arrays = found[path]
        kernels = {k: v for k, v in arrays.items() if str(k).startswith("kernel")}
        try:
            inputs, features = _size_of(kernels, text)
            kernel = _dense_kernel(kernels, *read_structure(text, inputs, features))
        except (KeyError, ValueError) as error:
            shapes = {name: np.shape(array) for name, array in kernels.items()}
            raise ValueError(
                f"Layer {path!r} has the arrays {shapes}, which are not those of '{text}'. Take "
                "the structures that were saved with the parameters."
            ) from error
        rest = {name: array for name, array in arrays.items() if name not in kernels}
        if "bias" in rest and rest["bias"].shape[-1] != features:
            raise ValueError(
                f"Layer {path!r} has {rest['bias'].shape[-1]} features by its bias, but '{text}' "
                f"gives {features}: add the layer's size to the structure, as in "
                f"'{text}@{inputs}x{rest['bias'].shape[-1]}'."
            )
        node(new, keys[:-1])[keys[-1]] = {"kernel": kernel, **rest}
    return new


def _choose(options: Sequence[KernelOptions], budget: Budget, limit: int | None) -> list[Choice]:
    """Allocates by what is known, finds the truth about what was chosen, and so on."""

    def allocate(*, measured: bool = False) -> list[Choice]:
        fronts, choices = zip(*(option.front(measured=measured) for option in options), strict=True)
        indices = least_cost(fronts, budget.value) if limit is None else least_error(fronts, limit)
        return [of_layer[i] for of_layer, i in zip(choices, indices, strict=True)]

    if not options:
        return []
    for option, choice in zip(options, allocate(), strict=True):
        option.compare(option.cost_of(choice))
    for _ in range(_MOST_ROUNDS):
        chosen = allocate()
        # All are measured, so this is a list and no generator.
        if not any([o.measure(choice) for o, choice in zip(options, chosen, strict=True)]):
            return chosen
    return allocate(measured=True)


def _kernel_limit(
    budget: Budget,
    options: Sequence[KernelOptions],
    layers: Mapping[str, DenseLayer],
    other: int,
) -> int:
    """Returns what the budget leaves for the kernels."""
    size = sum(math.prod(layer.kernel.shape) for layer in layers.values())
    fixed, dense = (0, 2 * size) if budget.kind == FLOPS else (other, other + size)
    limit, least = budget.limit(dense), fixed + sum(option.least for option in options)
    if limit < least:
        outside = f", {other:,} of them outside the dense kernels" if fixed else ""
        raise ValueError(
            f"The budget {budget} allows {limit:,} {budget.kind}, but these layers cannot have "
            f"fewer than {least:,} ({least / dense:.2%} of {dense:,}{outside}): raise it to that, "
            "or let more layers be replaced."
        )
    return limit - fixed


def _parameters(structure: KroneckerSum) -> int:
    return structure.num_parameters


def _flops(structure: KroneckerSum) -> int:
    return structure.flops(1)


def _dense_kernel(arrays: Mapping[str, Any], method: str, structure: KroneckerSum) -> Any:
    """Returns the kernel of a layer's arrays, formed in float32 at least."""
    if method == LOW_RANK:
        factors: Factors = [[arrays["kernel_u"].T[:, :, None], arrays["kernel_v"][:, None, :]]]
    else:
        factors = [
            [arrays[f"kernel_{t}_{k}"] for k in range(term.num_factors)]
            for t, term in enumerate(structure.terms)
        ]
    dtype = jnp.result_type(*(factor for term in factors for factor in term))
    wide = jnp.promote_types(dtype, jnp.float32)
    factors = [[jnp.asarray(factor, wide) for factor in term] for term in factors]
    return materialize(factors, structure=structure).astype(dtype)


def _size_of(kernels: Mapping[str, Any], text: str) -> tuple[int, int]:
    if "kernel_u" in kernels:
        return kernels["kernel_u"].shape[0], kernels["kernel_v"].shape[1]
    structure = KroneckerSum.parse(text)
    return structure.inputs, structure.features
