"""What is known of the inputs of a layer, by which its error is weighted."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from kfc_jax.compress.model_layers import Layer, ModelLayers
from kfc_jax.decompose import InputStatistics

Seen = InputStatistics | Float[Array | np.ndarray, "*batch inputs"] | None
Statistics = Mapping[str, Seen | list[InputStatistics | None]]
"""What the layers see, by their paths: statistics, or samples of the inputs; None: nothing.

Of a stack of kernels it is a list, one entry for each.
"""


def check_paths(structures: Iterable[str], layers: ModelLayers) -> None:
    """Checks that all paths are among the layers.

    Raises:
      ValueError: naming the first that is not, and why.
    """
    for path in structures:
        if path not in layers:
            kernel = f"{path}/kernel"
            why = layers.others.get(path, layers.others.get(kernel))
            if why and layers.is_traced:
                raise ValueError(
                    f"{path!r} is no dense layer ({why}): leave it out; {list_layers(layers)}"
                )
            raise ValueError(
                f"The parameters have no dense layer {path!r}; {list_layers(layers)} A checkpoint "
                "of another model?"
            )


def list_layers(layers: ModelLayers) -> str:
    """Returns a sentence that lists the layers."""
    return f"the dense layers are {', '.join(layers) or 'none'}."


def statistics_of(layer: Layer, statistics: Statistics | None) -> list[InputStatistics | None]:
    """Returns what each kernel of a layer sees; None where the kernel's own error counts.

    A kernel that has seen nothing but zeros, and a table, have no statistics.

    Raises:
      ValueError: if there are some, but not of this layer, or of another number of inputs.
    """
    count = int(np.prod(layer.stack_shape, dtype=int))
    if statistics is None or layer.is_table:
        return [None] * count
    if layer.path not in statistics:
        raise ValueError(
            f"There are no statistics of layer {layer.path!r}; there are for "
            f"{', '.join(statistics) or 'none'}. Find them with input_statistics, or exclude it."
        )
    given = statistics[layer.path]
    of_each = given if isinstance(given, list) else [given]
    if len(of_each) != count:
        raise ValueError(
            f"Layer {layer.path!r} has {count} kernels, and there are statistics of {len(of_each)}:"
            " take those of this model."
        )
    found = [None if seen is None else InputStatistics.of(seen) for seen in of_each]
    for seen in found:
        if seen is not None and seen.inputs != layer.size[0]:
            raise ValueError(
                f"The statistics of layer {layer.path!r} are of {seen.inputs} inputs, but its "
                f"kernel has {layer.size[0]}: take those of this model."
            )
    return found


def error_statistics_of(
    layer: Layer, statistics: Statistics | None
) -> list[InputStatistics | None]:
    """Returns what the error of the layer's output is weighted by, as `statistics_of`.

    The bias of a layer, if it has one, takes up the error of the output's mean.

    Raises:
      ValueError: if there are some, but not of this layer, or of another number of inputs.
    """
    return [
        seen if seen is None or layer.bias is None else seen.centred()
        for seen in statistics_of(layer, statistics)
    ]


def sees_nothing(layer: Layer, statistics: Statistics | None) -> bool:
    """Says whether a layer, or a kernel of its stack, has seen nothing but zeros."""
    if statistics is None or layer.is_table or layer.path not in statistics:
        return False
    given = statistics[layer.path]
    return any(one is None for one in (given if isinstance(given, list) else [given]))


def weights_of(
    layer: Layer, statistics: Statistics | None
) -> list[Callable[[], InputStatistics] | None]:
    """Returns for each kernel what finds the weights of its error; None: its own error counts.

    Weights of many layers are too large to be kept, and those of samples take a while to find.

    Raises:
      ValueError: if there are no statistics of the layer, or of another number of inputs.
    """
    given: Any = None if statistics is None else statistics.get(layer.path)
    if (
        getattr(given, "shape", ())[-1:] != layer.size[:1]
    ):  # samples of the right size are found fit later
        statistics_of(layer, statistics)
    if statistics is None or layer.is_table:
        return [None] * len(layer.each_matrix())

    def find(index: int) -> InputStatistics:
        found = error_statistics_of(layer, statistics)[index]
        assert found is not None
        return found

    return [functools.partial(find, index) for index in range(len(layer.each_matrix()))]
