"""Parameters of NNX, made by the initialisers of the linen layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
from flax import nnx
from flax.core import FrozenDict
from flax.linen import linear as of_linen
from flax.nnx.nn import linear as of_nnx
from jax.nn.initializers import Initializer

from kfc_jax.structures import LayerStructure

NO_METADATA: Mapping[str, Any] = FrozenDict()
_SHARDING = "out_sharding"  # the metadata that names the axes of an array


def add_kernel(
    layer: nnx.Module,
    structure: LayerStructure,
    initializers_of: Callable[[Initializer], Mapping[str, Initializer]],
    kernel_init: Initializer,
    *,
    dtype: Any,
    key: jax.Array,
    metadata: Mapping[str, Any],
) -> None:
    """Gives a layer the arrays of its kernel, under their names, as ``nnx.Param``.

    Args:
      layer: what gets them.
      structure: how the kernel is stored.
      initializers_of: returns the initialisers of the arrays by their names, from the kernel's.
      kernel_init: initialiser of a dense kernel. Axis names of its ``nnx.with_partitioning`` carry
        over to the arrays as those of linen's do.
      dtype: type of the arrays.
      key: the key that a dense layer would draw its kernel with.
      metadata: of the parameters; axis names likewise.
    """
    shapes = structure.array_shapes
    keys = [key] if len(shapes) == 1 else jax.random.split(key, len(shapes))
    dense = _AsOfLinen(kernel_init, metadata)
    initializers = initializers_of(dense.initializer)
    for key, (name, shape) in zip(keys, shapes.items(), strict=True):
        setattr(layer, name, dense.param(initializers[name](key, shape, dtype)))


def arrays_of(layer: nnx.Module, structure: LayerStructure) -> dict[str, jax.Array]:
    """Returns the arrays of a layer's kernel by their names."""
    return {name: getattr(layer, name)[...] for name in structure.array_shapes}


class _Named(nn.Partitioned[Any]):
    """An array with names of its axes; a parameter made of it sees to it that it lies so."""

    def unbox(self, apply_constraint: bool = True) -> Any:
        """Returns the array as it is."""
        del apply_constraint
        return self.value


class _AsOfLinen:
    """An initialiser of NNX as one of linen, and arrays of linen's initialisers as parameters.

    Both say which axis lies along which axis of a mesh, linen by a box around the array.

    Attributes:
      initializer: the initialiser for the linen layer.
    """

    def __init__(self, kernel_init: Initializer, metadata: Mapping[str, Any]) -> None:
        self._kernel_init = kernel_init
        self._metadata = dict(metadata)
        self._drawn: nnx.VariableMetadata | None = None
        same = {
            of_nnx.default_kernel_init: of_linen.default_kernel_init,
            of_nnx.default_embed_init: of_linen.default_embed_init,
        }
        known = next((theirs for ours, theirs in same.items() if ours is kernel_init), None)
        # With names to carry over, it has to be called.
        self.initializer: Any = self._boxed if known is None or _SHARDING in metadata else known

    def _boxed(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> Any:
        value: Any = self._kernel_init(key, shape, dtype)
        names = self._metadata.get(_SHARDING)
        if isinstance(value, nnx.VariableMetadata):
            self._drawn = dataclasses.replace(value, raw_value=None)
            names = value.metadata.get(_SHARDING, names)
            value = value.raw_value
        return _Named(value, names=tuple(names)) if names else value

    def param(self, value: Any) -> nnx.Param:
        """Returns what an initialiser of the linen layer drew, as a parameter with its metadata."""
        metadata = dict(self._metadata)
        of_drawn = dict(self._drawn.metadata) if self._drawn else {}
        if isinstance(value, _Named):
            of_drawn[_SHARDING] = value.names
            value = value.value
        if self._drawn:
            return nnx.Param(
                dataclasses.replace(self._drawn, raw_value=value, metadata=of_drawn), **metadata
            )
        return nnx.Param(value, **{**metadata, **of_drawn})
