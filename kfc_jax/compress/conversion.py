"""From a model's dense parameters to those of the compressed model, and back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kfc_jax.compress.boxes import (
    box_of_kernel,
    boxes_of_factors,
    path_in,
    with_boxes,
    without_boxes,
)
from kfc_jax.compress.layer_arrays import kernel_arrays, planned_kernel, structure_of_layer
from kfc_jax.compress.layer_statistics import Statistics, error_statistics_of, statistics_of
from kfc_jax.compress.model_layers import MATRIX, Layer, ModelLayers, check_has_numbers
from kfc_jax.compress.parameter_trees import array_at, copy_tree, leaves_of_layers, with_module
from kfc_jax.compress.plan import (
    CompressionPlan,
    Structures,
    planned_layers,
    plans_of,
    structures_of,
)
from kfc_jax.decompose import DecompositionReport, InputStatistics, decompose_kernel
from kfc_jax.product import dense_kernel
from kfc_jax.structures import DenseStructure, LayerStructure


def convert(
    params: Mapping[str, Any] | ModelLayers,
    plan: Structures,
    *,
    statistics: Statistics | None = None,
) -> tuple[Any, dict[str, DecompositionReport]]:
    """Returns parameters with factors in place of the kernels that the plan replaces.

    They are those of the same model with `KFCDense`, `LowRankDense` or the layer of another kind
    where `nn.Dense` stood, or of the model in a `CompressedModel`.

    Args:
      params: the parameters of the dense model, or its layers as `find_layers` finds them.
      plan: a plan, or structures of any kind by the layers' paths, also as text: ``dense``,
        ``rank 3``, ``2:16x20*50x25``.
      statistics: what the layers see, by their paths, or samples of it ``(..., inputs)``: with
        them, the errors of the layers' outputs are minimised. The biases then correct what the
        approximation does to the means of the outputs.

    Returns:
      The new parameters, and a report for every layer that was replaced; of a stack, its errors
      are root mean squares. Arrays that stay are shared, not copied. Containers and boxes are as
      they were; factors in boxes have the names of axes that they have in `KFCDense`.

    Raises:
      ValueError: if the plan does not suit the parameters, a number is not finite, or the plan was
        made with statistics and there are none here.
    """
    if statistics is None and isinstance(plan, CompressionPlan) and plan.is_weighted:
        raise ValueError(
            "The plan was made for the errors of outputs, with statistics, which are missing here: "
            "give statistics=, else the factors are far worse than the plan says; or, to have the "
            "errors of kernels count, plan without them."
        )
    layers = planned_layers(params, plan)
    boxes = dict(layers.boxes)
    replaced = []  # all of them are checked before the first decomposition
    for path, planned in plans_of(plan, layers).items():
        layer, structure = layers[path], planned.kernel
        layer.check_numbers()
        if not isinstance(structure, DenseStructure):
            replaced.append((layer, structure, error_statistics_of(layer, statistics)))
            if (box := boxes.pop(layer.kernel_path, None)) is not None:
                boxes |= boxes_of_factors(path, structure, layer.axes, box)
    new, reports = copy_tree(layers.params), {}
    for layer, structure, weights in replaced:
        kernels = layer.each_matrix()
        found = [
            decompose_kernel(structure, kernel, statistics=seen)
            for kernel, seen in zip(kernels, weights, strict=True)
        ]
        reports[layer.path] = _together([report for _, report in found])
        each = [arrays for arrays, _ in found]
        module = _stacked(each, layer.stack_shape)
        if layer.bias is not None:
            seen = statistics_of(layer, statistics)
            module["bias"] = _corrected_bias(layer, structure, kernels, each, seen)
        new = with_module(new, layer.keys, _with_the_rest(layer, layers.params, module))
    return with_boxes(new, boxes), reports


def _stacked(each: Sequence[dict[str, Any]], shape: tuple[int, ...]) -> dict[str, Any]:
    """Returns the arrays of all kernels of a stack of a shape behind its axes."""
    if not shape:
        return dict(each[0])
    return jax.tree.map(lambda *a: jnp.stack(a).reshape(*shape, *a[0].shape), *each)


def _with_the_rest(layer: Layer, params: Any, module: dict[str, Any]) -> dict[str, Any]:
    """Returns the arrays of a module, with all that it has beside the kernel."""
    if not layer.name:
        return module
    beside = array_at(params, layer.keys)
    rest = {name: value for name, value in beside.items() if name != layer.name}
    if taken := rest.keys() & module.keys() - {"bias"}:
        raise ValueError(
            f"Layer {layer.path!r} has arrays with the names of factors already ({sorted(taken)}): "
            "leave it out of the plan."
        )
    return {**module, **{name: value for name, value in rest.items() if name not in module}}


def _corrected_bias(
    layer: Layer,
    structure: LayerStructure,
    kernels: Sequence[Any],
    each: Sequence[Mapping[str, Any]],
    seen: Sequence[InputStatistics | None],
) -> Any:
    """Returns the bias with which the means of the outputs stay."""
    bias: Any = layer.bias
    if all(one is None or one.mean is None for one in seen):
        return bias
    rows = np.asarray(bias, np.float64).reshape(len(kernels), -1)
    for row, kernel, arrays, one in zip(rows, kernels, each, seen, strict=True):
        if one is not None and one.mean is not None:
            approx = np.asarray(dense_kernel(structure, arrays), np.float64)
            row += one.mean @ (np.asarray(kernel, np.float64) - approx)
    return jnp.asarray(rows.reshape(bias.shape), bias.dtype)


def _together(reports: Sequence[DecompositionReport]) -> DecompositionReport:
    """Returns the report of a stack."""
    if len(reports) == 1:
        return reports[0]

    def mean(errors: Sequence[float]) -> float:
        return math.sqrt(math.fsum(error**2 for error in errors) / len(errors))

    outputs = [r.output_error for r in reports if r.output_error is not None]
    return dataclasses.replace(
        reports[0],
        relative_error=mean([report.relative_error for report in reports]),
        output_error=mean(outputs) if len(outputs) == len(reports) else None,
    )


def to_dense(params: Any, plan: Structures) -> Any:
    """Returns parameters of the dense model, with the kernels that the factors stand for.

    The same arguments give the same bits. Kernels are formed in float32 at least, and have the
    factors' type.

    Args:
      params: the parameters, as `convert` returns them or as they were trained.
      plan: the plan, or the structures by the layers' paths. A structure that pads a layer needs
        the layer's size, as in ``2:3x3*4x4@12x11``, because the factors do not tell it, and a
        kernel in another layout than ``(inputs, features)``, or a stack, needs the plan.

    Raises:
      ValueError: if a layer of the plan is not there, has other factors, or a bias of another size,
        or if the parameters are descriptions.
    """
    check_has_numbers(params)
    params, boxes = without_boxes(params)
    new = copy_tree(params)
    found = dict(leaves_of_layers(params))
    planned = {p.path: p for p in plan.layers} if isinstance(plan, CompressionPlan) else {}
    for path, text in structures_of(plan).items():
        if text == DenseStructure.kind:
            continue
        if path not in found:
            raise ValueError(
                f"The parameters have no layer {path!r}; they have {', '.join(found) or 'none'}."
            )
        keys, arrays = found[path]
        kernels = kernel_arrays(arrays)
        rest = {name: array for name, array in arrays.items() if name not in kernels}
        if path not in planned:
            structure, axes, names = structure_of_layer(path, arrays, text), MATRIX, ()
            name, kernel = DenseStructure.parameter, dense_kernel(structure, kernels)
        else:
            its = planned[path]
            structure, axes, names = its.kernel, its.read.axes, its.axis_names
            name, kernel = its.name, planned_kernel(its, arrays)
        new = with_module(new, keys, {name: kernel, **rest} if name else kernel)
        boxed = {n: boxes.pop(key) for n in kernels if (key := path_in(path, n)) in boxes}
        if (box := box_of_kernel(structure, axes, names, boxed)) is not None:
            boxes[path_in(path, name)] = box
    return with_boxes(new, boxes)
