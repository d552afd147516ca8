"""What the layers of a model see: their inputs' mean and second moment, found by running it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from kfc_jax.compress.functions import ModelFunction, arguments_of
from kfc_jax.compress.layer_statistics import Seen
from kfc_jax.compress.model_layers import check_has_numbers, find_layers
from kfc_jax.compress.replace import CompressedModel, factors_in_place
from kfc_jax.decompose import InputStatistics
from kfc_jax.layers import FactoredDense
from kfc_jax.tracing import FactoredLeaf, ReadKernel, Sums, marked, record_inputs

_log = logging.getLogger(__name__)


def input_statistics(
    model: Any,
    variables: Any,
    batches: Iterable[Any],
    *,
    layers: Collection[str] | None = None,
    **kwargs: Any,
) -> dict[str, Any]:
    """Runs a model on data, and returns the statistics of what its layers see.

    The layers are those that `find_layers` finds, also in loops, branches and stacks, and those
    that are factors already.

    Example::

      >>> import flax.linen as nn, jax, jax.numpy as jnp
      >>> from kfc_jax import input_statistics
      >>> model, x = nn.Sequential([nn.Dense(5), nn.relu, nn.Dense(3)]), jnp.ones((8, 4))
      >>> found = input_statistics(model, model.init(jax.random.key(0), x), [x, x])
      >>> {path: statistics.second_moment.shape for path, statistics in found.items()}
      {'layers_0': (4, 4), 'layers_2': (5, 5)}

    Args:
      model: a Flax model, of linen or nnx, a `CompressedModel`, or a function of ``(params, ...)``.
      variables: its variables, ``{"params": ...}``; None for an nnx module.
      batches: the inputs of the model for each batch: an array; a tuple of several arguments; or a
        dictionary of arguments by name.
      layers: the paths of the layers to look at. Default: all.
      **kwargs: passed to the model, such as ``train=False``.

    Returns:
      The statistics by path; a list of them for a stack of kernels; None for a layer that sees
      nothing but zeros or is not reached, of which a line of log tells. Tables have none.

    Raises:
      ValueError: if there is no batch, a wanted layer was not called, an input is not finite, or
        the parameters are descriptions.
    """
    check_has_numbers(ModelFunction.of(model, variables).params)
    recorder = _Recorder(model, variables, layers, kwargs)
    totals: dict[str, Sums] = {}
    batch = None
    for batch in batches:
        args, by_name = arguments_of(batch)
        for path, sums in recorder.run(args, by_name).items():
            totals[path] = totals[path] + sums if path in totals else sums
    if missing := sorted(set(layers or ()) - totals.keys()):
        raise ValueError(
            f"No layer {missing[0]!r} was called that can be replaced; those that were: "
            f"{', '.join(totals) or 'none'}. Take the paths of find_layers(model, ...)."
        )
    if batch is None:
        raise ValueError("There was no batch: give at least one batch of the model's inputs.")
    if not totals and not recorder.tables:
        why = "; ".join(f"{path}: {reason}" for path, reason in recorder.others.items())
        raise ValueError(
            f"The model has no layer that can be replaced ({why or 'no arrays of two axes'}): take "
            "one that multiplies by a kernel."
        )
    return {path: _statistics(path, sums) for path, sums in totals.items()}


class _Recorder:
    """Runs the model on one batch after the other."""

    def __init__(
        self, model: Any, variables: Any, layers: Collection[str] | None, options: dict[str, Any]
    ) -> None:
        self._model, self._variables = model, variables
        self._layers, self._options = layers, options
        self._jitted = jax.jit(self._record)
        self.tables: set[str] = set()  # these are found when the first batch is traced
        self.others: dict[str, str] = {}

    def run(self, args: tuple[Any, ...], by_name: dict[str, Any]) -> dict[str, Sums]:
        """Returns the sums of a batch by the layers' paths, in float64."""
        found = self._jitted(args, by_name)
        return {path: sums.on_host() for path, sums in found.items()}

    def _record(self, args: tuple[Any, ...], by_name: dict[str, Any]) -> dict[str, Sums]:
        options = {**self._options, **by_name}
        dense, factors = self._model, {}
        variables, described = self._variables, self._variables
        if isinstance(dense, CompressedModel):
            params = nn.unbox(variables["params"])
            tree, factors = factors_in_place(params, dense.planned(params, *args, **options))
            described = {**variables, "params": tree}
            dense = dense.model
        function = ModelFunction.of(dense, described)

        def run(params: Any, rest: Any, *args: Any) -> Any:
            with nn.intercept_methods(self._mark):
                return function.run(params, rest, *args, **options)

        layers = find_layers(dense, described, *args, **options)
        self.tables |= {path for path, layer in layers.items() if layer.is_table}
        self.others |= layers.others
        paths = {layer.kernel_path: path for path, layer in layers.items()}
        kernels: dict[str, ReadKernel] = {
            layer.kernel_path: layer.read for path, layer in layers.items() if self._wants(path)
        }
        wanted: dict[str, FactoredLeaf] = dict(factors)
        arguments = (function.rest, *args)
        found = record_inputs(run, function.params, kernels, *arguments, factors=wanted)
        return {paths.get(path, path): sums for path, sums in found.items()}

    def _wants(self, path: str) -> bool:
        return self._layers is None or path in self._layers

    def _mark(self, call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        """Marks what layers see that are factors already."""
        path = "/".join(context.module.path)
        is_layer = isinstance(context.module, FactoredDense) and context.method_name == "__call__"
        if not (is_layer and self._wants(path)):
            return call(*args, **kwargs)
        if args:
            return call(marked(path, args[0]), *args[1:], **kwargs)
        return call(**{**kwargs, "inputs": marked(path, kwargs["inputs"])})


def _statistics(path: str, sums: Sums) -> Seen | list[InputStatistics | None]:
    """Returns the statistics of a layer, in a list if it is a stack."""
    if np.ndim(sums.count) == 0:
        return _of_one(path, float(sums.count), sums.mean, sums.scatter)
    inputs = sums.mean.shape[-1]
    each = zip(
        sums.count.ravel(),
        sums.mean.reshape(-1, inputs),
        sums.scatter.reshape(-1, inputs, inputs),
        strict=True,
    )
    return [_of_one(f"{path}[{i}]", float(n), *rest) for i, (n, *rest) in enumerate(each)]


def _of_one(name: str, count: float, mean: Any, scatter: Any) -> InputStatistics | None:
    if count == 0 or (not np.any(mean) and not np.any(scatter)):
        what = "is not reached" if count == 0 else "sees nothing but zeros"
        _log.warning("Layer %s %s on these inputs, so that there are no statistics.", name, what)
        return None
    moment = scatter / count + np.outer(mean, mean)
    try:
        return InputStatistics((moment + moment.T) / 2, mean)
    except ValueError as error:
        raise ValueError(f"layer {name}: {error}") from error
