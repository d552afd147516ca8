"""From a model's dense parameters to those of the compressed model, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from kfc_jax.compress.dense_layers import (
    Statistics,
    check_paths,
    copy_tree,
    dense_layers,
    leaves_of_layers,
    second_moment_of,
    subtree,
)
from kfc_jax.compress.plan import (
    DENSE,
    LOW_RANK,
    CompressionPlan,
    LayerPlan,
    Structures,
    read_structure,
    structures_of,
)
from kfc_jax.decompose import DecompositionReport, low_rank, nearest_kronecker_sum
from kfc_jax.product import Factors, materialize
from kfc_jax.structures import KroneckerStructure


def convert(
    params: Mapping[str, Any], plan: Structures, *, statistics: Statistics | None = None
) -> tuple[dict[str, Any], dict[str, DecompositionReport]]:
    """Returns parameters with factors in place of the kernels that the plan replaces.

    They are those of the same model with `KFCDense` (``kernel_0_0``, ...) or `LowRankDense`
    (``kernel_u``, ``kernel_v``) where `nn.Dense` stood, or of the model in a `CompressedModel`.

    Args:
      params: the parameters of the dense model.
      plan: a plan, or structures by path: ``dense``, ``rank 3``, or a `KroneckerStructure` or its
        text.
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
        path: second_moment_of(layers[path], statistics)
        for path, (m, _) in parsed.items()
        if m != DENSE
    }
    new, reports = copy_tree(params), {}
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
        subtree(new, layer.keys[:-1])[layer.keys[-1]] = arrays
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
    new = copy_tree(params)
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
        subtree(new, keys[:-1])[keys[-1]] = {"kernel": kernel, **rest}
    return new


def _dense_kernel(arrays: Mapping[str, Any], method: str, structure: KroneckerStructure) -> Any:
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
    structure = KroneckerStructure.parse(text)
    return structure.inputs, structure.features
