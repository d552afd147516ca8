"""Reordering a model's hidden units so that its layers decompose better; the function stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfc_jax.compress.layer_statistics import Statistics, check_paths, error_statistics_of
from kfc_jax.compress.model_layers import dense_layers
from kfc_jax.compress.parameter_trees import array_at, copy_tree
from kfc_jax.compress.plan import Structures, structures_of
from kfc_jax.decompose import InputStatistics, unit_order
from kfc_jax.structures import DenseStructure, read_layer_structure


def reorder_units(
    params: Mapping[str, Any],
    plan: Structures,
    readers: Mapping[str, str],
    *,
    statistics: Statistics | None = None,
    weighted: bool = True,
) -> tuple[dict[str, Any], dict[str, InputStatistics] | None]:
    """Returns parameters of the same function, with hidden units in an order that suits `plan`.

    The outputs of a layer that becomes a sum of Kronecker products are permuted by `unit_order`:
    the columns of its kernel, its bias, and the rows of the layer that reads them. `convert` then
    has a smaller error at the same size. Layers that stay dense or become low rank gain nothing,
    so they keep their order.

    Args:
      params: the parameters of the dense model.
      plan: a plan, or structures by the layers' paths.
      readers: for the path of a layer, the path of the dense layer that reads its outputs. That
        layer reads all of them, and nothing else does. Between the two there is nothing but what
        acts on every unit alike: activations and dropout, but no normalisation with parameters of
        its own.
      statistics: what the layers see, as in `convert`.
      weighted: whether the error of the outputs counts, by the statistics, and not that of the
        kernels.

    Returns:
      The parameters, and the statistics of the layers as they are now; None without statistics.

    Raises:
      ValueError: if a layer is not there, or a reader has other inputs than the layer has outputs.
    """
    layers, structures = dense_layers(params), structures_of(plan)
    check_paths([*structures, *readers, *readers.values()], layers)
    for path, reader in readers.items():
        features, inputs = layers[path].kernel.shape[1], layers[reader].kernel.shape[0]
        if features != inputs or path == reader:
            raise ValueError(
                f"Layer {reader!r} cannot read the outputs of {path!r}: it has {inputs} inputs, "
                f"and {path!r} has {features} outputs. Name the layer that comes next."
            )
    new = copy_tree(params)
    moved = None
    if statistics is not None:
        moved = {
            path: InputStatistics.of(seen)
            for path, seen in statistics.items()
            if seen is not None and not isinstance(seen, list)
        }
    for path, reader in readers.items():
        text = structures.get(path, DenseStructure.kind)
        structure = read_layer_structure(text, *layers[path].kernel.shape)
        if not structure.depends_on_unit_order:
            continue
        layer = dense_layers(new)[path]
        (weights,) = error_statistics_of(layer, moved if weighted else None)
        order = unit_order(layer.kernel, str(structure), statistics=weights)
        arrays, reading = array_at(new, layer.keys), array_at(new, layers[reader].keys)
        arrays[DenseStructure.parameter] = arrays[DenseStructure.parameter][:, order]
        if layer.bias is not None:
            arrays["bias"] = arrays["bias"][order]
        reading[DenseStructure.parameter] = reading[DenseStructure.parameter][order]
        if moved is not None and reader in moved:
            moved[reader] = moved[reader].reordered(order)
    return new, moved
