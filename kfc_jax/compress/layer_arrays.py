"""Whether the arrays of a layer are those of the structure that is told for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kfc_jax.structures import (
    DenseStructure,
    LayerStructure,
    kind_of_parameter,
    read_layer_structure,
)


def kernel_arrays(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arrays of a layer that its kernel is made of, by their names."""
    return {name: array for name, array in arrays.items() if kind_of_parameter(str(name))}


def structure_of_layer(path: str, arrays: Mapping[str, Any], text: str) -> LayerStructure:
    """Returns the structure that a text means for the layer with these arrays.

    Args:
      path: where the layer is, for errors.
      arrays: all arrays of the layer by their names, its bias too.
      text: the text form of the structure. One that pads the layer needs the layer's size.

    Raises:
      ValueError: naming the layer, if it has other arrays, or a bias of another size.
    """
    shapes = {name: np.shape(array) for name, array in kernel_arrays(arrays).items()}
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
    if "bias" in arrays and arrays["bias"].shape[-1] != features:
        raise ValueError(
            f"Layer {path!r} has {arrays['bias'].shape[-1]} features by its bias, but '{text}' "
            f"gives {features}: add the layer's size to the structure, as in "
            f"'{text}@{inputs}x{arrays['bias'].shape[-1]}'."
        )
    return structure
