"""From a model's dense parameters to those of the compressed model, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from kfc_jax.compress.find_layers import (
    Statistics,
    check_paths,
    copy_tree,
    dense_layers,
    error_statistics_of,
    leaves_of_layers,
    statistics_of,
    subtree,
)
from kfc_jax.compress.layer_arrays import kernel_arrays, structure_of_layer
from kfc_jax.compress.plan import CompressionPlan, LayerPlan, Structures, structures_of
from kfc_jax.decompose import DecompositionReport, decompose_kernel
from kfc_jax.product import dense_kernel
from kfc_jax.structures import DenseStructure


def convert(
    params: Mapping[str, Any], plan: Structures, *, statistics: Statistics | None = None
) -> tuple[dict[str, Any], dict[str, DecompositionReport]]:
    """Returns parameters with factors in place of the kernels that the plan replaces.

    They are those of the same model with `KFCDense`, `LowRankDense` or the layer of another kind
    where `nn.Dense` stood, or of the model in a `CompressedModel`.

    Args:
      params: the parameters of the dense model.
      plan: a plan, or structures of any kind by the layers' paths, also as text: ``dense``,
        ``rank 3``, ``2:16x20*50x25``.
      statistics: what the layers see, by their paths, or samples of it ``(..., inputs)``: with
        them, the errors of the layers' outputs are minimised. The biases then correct what the
        approximation does to the means of the outputs.

    Returns:
      The new parameters, and a report for every layer that was replaced. Arrays that stay are
      shared, not copied.

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
    replaced = {}  # all of them are checked before the first decomposition
    for path, text in structures.items():
        layer = layers[path]
        inputs, features = layer.kernel.shape
        structure = LayerPlan(path, inputs, features, text).kernel
        if not isinstance(structure, DenseStructure):
            replaced[path] = structure, error_statistics_of(layer, statistics)
    new, reports = copy_tree(params), {}
    for path, (structure, weights) in replaced.items():
        layer = layers[path]
        arrays, reports[path] = decompose_kernel(structure, layer.kernel, statistics=weights)
        if layer.bias is not None:
            seen = statistics_of(layer, statistics)
            bias = layer.bias
            if seen is not None and seen.mean is not None:
                approx = np.asarray(dense_kernel(structure, arrays), np.float64)
                difference = np.asarray(layer.kernel, np.float64) - approx
                bias = np.asarray(layer.bias, np.float64) + seen.mean @ difference
                bias = jnp.asarray(bias, layer.bias.dtype)
            arrays["bias"] = bias
        subtree(new, layer.keys[:-1])[layer.keys[-1]] = arrays
    return new, reports


def to_dense(params: Mapping[str, Any], plan: Structures) -> dict[str, Any]:
    """Returns parameters of the dense model, with the kernels that the factors stand for.

    The same arguments give the same bits. Kernels are formed in float32 at least, and have the
    factors' type.

    Args:
      params: the parameters, as `convert` returns them or as they were trained.
      plan: the plan, or the structures by the layers' paths. A structure that pads a layer needs
        the layer's size, as in ``2:3x3*4x4@12x11``, because the factors do not tell it; those of a
        plan have it.

    Raises:
      ValueError: if a layer of the plan is not there, has other factors, or a bias of another size.
    """
    new = copy_tree(params)
    found = dict(leaves_of_layers(params))
    for path, text in structures_of(plan).items():
        if text == DenseStructure.kind:
            continue
        if path not in found:
            raise ValueError(
                f"The parameters have no layer {path!r}; they have {', '.join(found) or 'none'}."
            )
        keys, arrays = found[path]
        kernels = kernel_arrays(arrays)
        kernel = dense_kernel(structure_of_layer(path, arrays, text), kernels)
        rest = {name: array for name, array in arrays.items() if name not in kernels}
        subtree(new, keys[:-1])[keys[-1]] = {DenseStructure.parameter: kernel, **rest}
    return new
