"""Whether the arrays of a layer are those of the structure that is told for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from kfc_jax.compress.plan import LayerPlan
from kfc_jax.product import dense_kernel
from kfc_jax.structures import (
    DenseStructure,
    LayerStructure,
    kind_of_parameter,
    read_layer_structure,
)


def kernel_arrays(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arrays of a layer that its kernel is made of, by their names."""
    return {name: array for name, array in arrays.items() if kind_of_parameter(str(name))}


def structure_of_layer(
    path: str, arrays: Mapping[str, Any], text: str, *, stack_axes: int = 0
) -> LayerStructure:
    """Returns the structure that a text means for the layer with these arrays.

    Args:
      path: where the layer is, for errors.
      arrays: all arrays of the layer by their names, its bias too.
      text: the text form of the structure. One that pads the layer needs the layer's size.
      stack_axes: the number of the arrays' first axes that count kernels.

    Raises:
      ValueError: naming the layer, if it has other arrays, or a bias of another size.
    """
    shapes = {name: np.shape(array)[stack_axes:] for name, array in kernel_arrays(arrays).items()}
    try:
        kind = (kind_of_parameter(min(shapes)) if shapes else None) or DenseStructure
        structure = read_layer_structure(text, *kind.size_of(text, shapes))
        structure.check_shapes(shapes)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"Layer {path!r} has the arrays {shapes}, which are not those of '{text}'. Take the "
            "structures that were saved with the parameters."
        ) from error
    inputs, features = structure.inputs, structure.features
    if "bias" in arrays and (size := math.prod(np.shape(arrays["bias"])[stack_axes:])) != features:
        raise ValueError(
            f"Layer {path!r} has {size} features by its bias, but '{text}' gives {features}: add "
            f"the layer's size to the structure, as in '{text}@{inputs}x{size}'."
        )
    return structure


def planned_arrays(planned: LayerPlan, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arrays of a planned layer's kernel, checked.

    Raises:
      ValueError: naming the layer, if they are not those of its structure.
    """
    kernels = kernel_arrays(arrays)
    sizes = [planned.read.shape[axis] for axis in planned.stack]
    expected = {name: (*sizes, *shape) for name, shape in planned.kernel.array_shapes.items()}
    if (shapes := {name: np.shape(array) for name, array in kernels.items()}) != expected:
        raise ValueError(
            f"Layer {planned.path!r} has the arrays {shapes}, which are not those of "
            f"'{planned.structure}'. Take the structures that were saved with the parameters."
        )
    return kernels


def planned_kernel(planned: LayerPlan, arrays: Mapping[str, Any]) -> Any:
    """Returns the dense kernel of a planned layer, in the layout that the model stores it in.

    Raises:
      ValueError: naming the layer, if its arrays are not those of its structure.
    """

    def form(arrays: Mapping[str, Any]) -> Any:
        return dense_kernel(planned.kernel, arrays)

    for _ in planned.stack:
        form = jax.vmap(form)
    matrices = form(planned_arrays(planned, arrays))
    return planned.read.axes.from_matrices(matrices, planned.read.shape)
