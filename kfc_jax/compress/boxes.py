"""Boxes around parameters that name their axes: taken off, and put around factors and kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core.meta import AxisMetadata

from kfc_jax.layers import FactoredDense, layer_for
from kfc_jax.structures import LayerStructure
from kfc_jax.tracing import KernelAxes, path_of

AxisNames = tuple[Any, ...]
"""For every axis of an array a name, several, or None."""


def _is_box(value: Any) -> bool:
    return isinstance(value, AxisMetadata)


def without_boxes(tree: Any) -> tuple[Any, dict[str, AxisMetadata[Any]]]:
    """Returns a tree of arrays without boxes, and the boxes by the paths of their arrays.

    The arrays stay where they are: no constraint of a mesh is put on them.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_box)
    boxes = {path_of(path): leaf for path, leaf in leaves if _is_box(leaf)}
    if not boxes:
        return tree, {}
    arrays = [_content(leaf) if _is_box(leaf) else leaf for _, leaf in leaves]
    empty = {path: box.replace_boxed(None) for path, box in boxes.items()}
    return structure.unflatten(arrays), empty


def with_boxes(tree: Any, boxes: Mapping[str, AxisMetadata[Any]]) -> Any:
    """Returns a tree with boxes around the arrays at some paths."""
    if not boxes:
        return tree

    def boxed(path: tuple[Any, ...], leaf: Any) -> Any:
        box = boxes.get(path_of(path))
        return leaf if box is None else box.replace_boxed(leaf)

    return jax.tree_util.tree_map_with_path(boxed, tree)


def names_of(box: Any) -> AxisNames:
    """Returns the names of the axes in a box; none without one, or if it has none."""
    return tuple(getattr(box, "names", ()))


def boxes_of_factors(
    path: str, structure: LayerStructure, axes: KernelAxes, box: AxisMetadata[Any]
) -> dict[str, AxisMetadata[Any]]:
    """Returns boxes for a layer's factors by their paths, from that of its dense kernel.

    A factor's axes have the names that they have in the layer of this structure, whose
    ``kernel_init`` names the axes of a kernel: of a sum of Kronecker products, the first factor
    has them. Of several axes that are the inputs or the features together, the first name counts.

    Raises:
      ValueError: if it is a box of another kind than Flax's own.
    """
    if not isinstance(box, nn.Partitioned):
        raise ValueError(
            f"The kernel of layer {path!r} is in a {type(box).__name__} box, which has no names "
            "of axes for its factors: take the arrays out with flax.linen.unbox(params), and box "
            "those of the result."
        )
    names = dict(enumerate(box.names))
    sides = tuple(_first_name(names, side) for side in (axes.rows, axes.columns))
    stack = tuple(names.get(axis) for axis in axes.stack)
    return {
        path_in(path, name): box.replace(names=(*stack, *of_factor))
        for name, of_factor in _names_in_layer(structure, sides).items()
    }


def box_of_kernel(
    structure: LayerStructure,
    axes: KernelAxes,
    names: AxisNames,
    boxes: Mapping[str, AxisMetadata[Any]],
) -> AxisMetadata[Any] | None:
    """Returns the box for a dense kernel, from those of its factors; None if they have none.

    Args:
      structure: how one matrix is stored.
      axes: which axes of the kernel are what.
      names: the names of the kernel's axes; empty if they are known from the factors alone.
      boxes: the boxes of the factors by their names.
    """
    if not boxes:
        return None
    box: Any = next(iter(boxes.values()))
    if names:
        return box.replace(names=names)
    found = dict(zip(axes.stack, names_of(box), strict=False))
    sides = {"rows": axes.rows, "columns": axes.columns}
    for name, of_factor in _names_in_layer(structure, tuple(sides)).items():
        given = names_of(boxes.get(name))[len(axes.stack) :]
        found |= {sides[side][0]: n for side, n in zip(of_factor, given, strict=False) if side}
    count = len((*axes.stack, *axes.rows, *axes.columns))
    return box.replace(names=tuple(found.get(axis) for axis in range(count)))


def path_in(path: str, name: str) -> str:
    """Returns the path of an array of a layer; without a name, the layer is the array."""
    return "/".join(filter(None, (path, name)))


def _content(box: Any) -> Any:
    return box.unbox(apply_constraint=False) if isinstance(box, nn.Partitioned) else box.unbox()


def _first_name(names: Mapping[int, Any], axes: Sequence[int]) -> Any:
    return next((names[axis] for axis in axes if names.get(axis) is not None), None)


def _names_in_layer(structure: LayerStructure, names: AxisNames) -> dict[str, AxisNames]:
    """Returns the names of the axes of all arrays in a layer whose kernel has these two."""

    def kernel_init(key: Any, shape: Any, dtype: Any) -> Any:
        del key
        return nn.Partitioned(jnp.zeros(shape, dtype), names)

    layer = layer_for(structure, structure.features, kernel_init=kernel_init)
    shapes = structure.array_shapes
    if not isinstance(layer, FactoredDense):
        return {name: (None,) * len(shape) for name, shape in shapes.items()}
    initializers = layer.array_initializers(structure)

    def init(key: Any) -> Any:
        return {name: initializers[name](key, shape, jnp.float32) for name, shape in shapes.items()}

    boxed = jax.eval_shape(init, jax.random.key(0))
    return {name: names_of(box) for name, box in boxed.items()}
