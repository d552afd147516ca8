"""Reordering a model's hidden units so that its layers decompose better; the function stays."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kfc_jax.compress.layer_statistics import Statistics, error_statistics_of
from kfc_jax.compress.model_layers import (
    Layer,
    ModelLayers,
    check_has_numbers,
    find_layers_again,
)
from kfc_jax.compress.plan import Structures, plans_of
from kfc_jax.decompose import InputStatistics, unit_order
from kfc_jax.tracing import find_unit_groups, leaves_by_path

_TOLERANCE = 1e-3
"""The largest change of the outputs by rounding, of their root mean square."""


def reorder_units(
    layers: ModelLayers,
    plan: Structures,
    *,
    statistics: Statistics | None = None,
    weighted: bool = True,
) -> tuple[ModelLayers, dict[str, Any] | None]:
    """Returns a model with the same function, its hidden units in an order that suits `plan`.

    The outputs of a layer that becomes a sum of Kronecker products are permuted by `unit_order`,
    and with them all that counts the same units: the bias, scales and averages of normalisations,
    and the rows of all layers that read them, as they are found by tracing the model. `convert`
    then has a smaller error at the same size. Layers that stay dense or become low rank gain
    nothing, so they keep their order, and so do outputs that cannot be permuted: of the model
    itself, of stacks, and where something treats units by their place. The model is run before and
    after on the inputs that it was traced with.

    Args:
      layers: the layers of the dense model as `find_layers` finds them, with real inputs.
      plan: a plan, or structures by the layers' paths.
      statistics: what the layers see, as in `convert`.
      weighted: whether the error of the outputs counts, by the statistics, and not that of the
        kernels.

    Returns:
      The model with its new ``params`` and ``variables``, and the statistics of the layers as they
      are now; None without statistics.

    Raises:
      ValueError: if the model was not traced, or with descriptions of parameters, a layer is not
        there, or the function changed.
    """
    traced = layers.traced
    if traced is None:
        raise ValueError(
            "Parameters alone do not tell what reads the outputs of a layer: give "
            "find_layers(model, variables, inputs)."
        )
    arrays = {"params": layers.params, "rest": traced.rest}
    check_has_numbers(arrays)

    def run(arrays: Any, *args: Any) -> Any:
        return traced.run(arrays["params"], arrays["rest"], *args)

    groups = find_unit_groups(run, arrays, *traced.args)
    now, seen = layers, None if statistics is None else dict(statistics)
    done: set[frozenset[tuple[str, int]]] = set()
    for path, planned in plans_of(plan, layers).items():
        axes = next((g.axes for g in groups if _outputs(layers[path]) in g.axes), None)
        if axes is None or axes in done or not planned.kernel.depends_on_unit_order:
            continue
        if _permutes_inputs(layers[path], axes):
            continue
        done.add(axes)
        layer = now[path]
        (weights,) = error_statistics_of(layer, seen if weighted else None)
        order = unit_order(layer.each_matrix()[0], str(planned.kernel), statistics=weights)
        arrays = _permuted(arrays, axes, order)
        now = find_layers_again(now, arrays["params"], arrays["rest"])
        if seen is not None:
            readers = [p for p in seen if p in layers and _permutes_inputs(layers[p], axes)]
            seen |= {reader: _reordered(seen[reader], order) for reader in readers}
    if done:
        _check_same(layers, now)
    return now, seen


def _outputs(layer: Layer) -> tuple[str, int]:
    """Returns the axis of a layer's outputs; none that there is for a stack or several axes."""
    is_one = not layer.axes.stack and len(layer.axes.columns) == 1
    return f"params/{layer.kernel_path}", layer.axes.columns[0] if is_one else -1


def _permutes_inputs(layer: Layer, axes: Collection[tuple[str, int]]) -> bool:
    return len(layer.axes.rows) == 1 and (
        (f"params/{layer.kernel_path}", layer.axes.rows[0]) in axes
    )


def _permuted(arrays: Any, axes: Collection[tuple[str, int]], order: Any) -> Any:
    """Returns arrays with the indices of some axes in another order."""
    leaves = leaves_by_path(arrays)
    for path, axis in axes:
        leaves[path] = jnp.take(jnp.asarray(leaves[path]), order, axis)
    return jax.tree.unflatten(jax.tree.structure(arrays), list(leaves.values()))


def _reordered(seen: Any, order: Any) -> Any:
    if seen is None:
        return None
    if isinstance(seen, list):
        return [None if one is None else one.reordered(order) for one in seen]
    return InputStatistics.of(seen).reordered(order)


def _check_same(before: ModelLayers, after: ModelLayers) -> None:
    """Checks that a model gives the same outputs.

    Raises:
      ValueError: if it does not, or the inputs are descriptions.
    """
    outputs = []
    for layers in (before, after):
        assert layers.traced is not None
        traced = layers.traced
        if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(traced.args)):
            raise ValueError(
                "The order of units is checked by running the model: give find_layers real inputs."
            )
        results = jax.jit(traced.run)(layers.params, traced.rest, *traced.args)
        outputs.append([leaf for leaf in jax.tree.leaves(results) if jnp.size(leaf)])
    for old, new in zip(*outputs, strict=True):
        if old.shape != new.shape or not jnp.issubdtype(old.dtype, jnp.inexact):
            continue
        old, new = (np.asarray(leaf, np.float64) for leaf in (old, new))
        size = float(np.sqrt(np.mean(old**2)))
        if (change := float(np.max(np.abs(old - new)))) > _TOLERANCE * size:
            raise ValueError(
                f"With its units in another order the model's outputs change by {change:.3g} of "
                f"{size:.3g}: nothing is reordered. If it is random (dropout), trace it without."
            )
