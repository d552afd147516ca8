"""The dense layers in a model's parameters, by their paths, and what they see.

A dense layer is a dictionary that holds a matrix under the name of a dense kernel, perhaps a
``bias``, and nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.core.meta import AxisMetadata
from jaxtyping import Array, Float

from kfc_jax.decompose import InputStatistics
from kfc_jax.structures import DenseStructure

Statistics = Mapping[str, InputStatistics | Float[Array | np.ndarray, "*batch inputs"]]
"""What the layers see, by their paths: statistics, or samples of the inputs."""


@dataclasses.dataclass(frozen=True)
class DenseLayer:
    """A dense layer.

    Attributes:
      keys: where it is in the parameters.
      kernel: ``(inputs, features)``.
      bias: ``(features,)``, or None.
    """

    keys: tuple[Any, ...]
    kernel: Any
    bias: Any | None

    @property
    def path(self) -> str:
        """The keys as text, `block/fc1`."""
        return "/".join(map(str, self.keys))


def dense_layers(params: Mapping[str, Any]) -> dict[str, DenseLayer]:
    """Returns the dense layers by path, and checks that their numbers are finite.

    Raises:
      ValueError: naming the layer whose numbers are not, or whose arrays are boxed; or if these are
        all of a model's variables.
    """
    if isinstance(params.get("params"), Mapping):
        raise ValueError(
            f"These are a model's variables ({', '.join(map(str, params))}), not its parameters: "
            'give variables["params"].'
        )
    layers = {}
    for path, (keys, arrays) in leaves_of_layers(params):
        kernel = arrays.get(DenseStructure.parameter)
        if isinstance(kernel, AxisMetadata):
            raise ValueError(
                f"The kernel of layer {path!r} is in a {type(kernel).__name__} box: take the "
                "arrays out with flax.linen.unbox(params), and box those of the result."
            )
        if (
            kernel is None
            or np.ndim(kernel) != 2
            or arrays.keys() - {DenseStructure.parameter, "bias"}
        ):
            continue
        layers[path] = DenseLayer(keys, kernel, arrays.get("bias"))
        for name, array in arrays.items():
            if not (jnp.issubdtype(array.dtype, jnp.floating) and np.isfinite(array).all()):
                raise ValueError(
                    f"The {name} of layer {path!r} has numbers that are NaN, infinite or not "
                    "floating: take a checkpoint from before the training diverged."
                )
    return layers


def leaves_of_layers(
    tree: Mapping[str, Any], keys: tuple[Any, ...] = ()
) -> Iterator[tuple[str, tuple[tuple[Any, ...], dict[str, Any]]]]:
    """Yields for every module with arrays its path, its keys and its arrays."""
    arrays = {k: v for k, v in tree.items() if v is not None and not isinstance(v, Mapping)}
    if arrays:
        yield "/".join(map(str, keys)), (keys, arrays)
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves_of_layers(value, (*keys, key))


def copy_tree(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a copy of the dictionaries, with the same arrays."""
    return {k: copy_tree(v) if isinstance(v, Mapping) else v for k, v in tree.items()}


def subtree(tree: dict[str, Any], keys: Sequence[Any]) -> dict[str, Any]:
    """Returns the part of a tree under the keys."""
    for key in keys:
        tree = tree[key]
    return tree


def check_paths(structures: Iterable[str], layers: Mapping[str, Any]) -> None:
    """Checks that all paths are among the dense layers.

    Raises:
      ValueError: naming the first that is not.
    """
    if unknown := [path for path in structures if path not in layers]:
        raise ValueError(
            f"The parameters have no dense layer {unknown[0]!r}; {list_layers(layers)} A "
            "checkpoint of another model?"
        )


def list_layers(layers: Mapping[str, Any]) -> str:
    """Returns a sentence that lists the dense layers."""
    return f"the dense layers are {', '.join(layers) or 'none'}."


def statistics_of(layer: DenseLayer, statistics: Statistics | None) -> InputStatistics | None:
    """Returns the statistics of what a layer sees; None if there are no statistics at all.

    Raises:
      ValueError: if there are some, but not of this layer, or of another number of inputs.
    """
    if statistics is None:
        return None
    if layer.path not in statistics:
        raise ValueError(
            f"There are no statistics of layer {layer.path!r}; there are for "
            f"{', '.join(statistics) or 'none'}. Find them with input_statistics, or exclude it."
        )
    found = InputStatistics.of(statistics[layer.path])
    if found.inputs != layer.kernel.shape[0]:
        raise ValueError(
            f"The statistics of layer {layer.path!r} are of {found.inputs} inputs, but its kernel "
            f"has {layer.kernel.shape[0]}: take those of this model."
        )
    return found


def error_statistics_of(layer: DenseLayer, statistics: Statistics | None) -> InputStatistics | None:
    """Returns what the error of the layer's output is weighted by; None: its kernel's error counts.

    The bias of a layer, if it has one, takes up the error of the output's mean.

    Raises:
      ValueError: if there are some, but not of this layer, or of another number of inputs.
    """
    found = statistics_of(layer, statistics)
    return found if found is None or layer.bias is None else found.centred()
