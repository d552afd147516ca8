"""What every layer of a model costs, and what it would cost were it dense."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util

from experiments.models.layers import NO_LAYER, NoLayer, frozen_layers
from experiments.runs import Layer
from kfc_jax.layers import FactoredDense
from kfc_jax.structures import DenseStructure, kind_of_parameter
from kfc_jax.text_table import text_table


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerCost(Layer):
    """The cost of one layer: what its result says of it, and its other parameters.

    Attributes:
      bias_parameters: all parameters that are no part of its kernel.
    """

    bias_parameters: int

    @property
    def reduction(self) -> float:
        """Fraction of the layer's dense kernel that is saved."""
        return _reduction(self.parameters, self.dense_parameters)

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields and the reduction."""
        return {**dataclasses.asdict(self), "reduction": self.reduction}


def costs_of_layers(model: nn.Module, image_shape: Sequence[int]) -> list[LayerCost]:
    """Returns the cost of every layer with parameters, without computing anything.

    A fully connected layer that was left out is listed too, and costs nothing.

    Args:
      model: a model of `experiments.models`.
      image_shape: height, width and channels of one image.

    Raises:
      ValueError: if a layer does not fit its input; the message names the layer.
    """
    calls: dict[str, list[tuple[nn.Module, tuple[int, ...], tuple[int, ...]]]] = {}

    def record(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        name = "/".join(context.module.path)
        try:
            outputs = call(*args, **kwargs)
        except ValueError as error:
            is_dense = isinstance(context.module, nn.Dense | FactoredDense)
            if is_dense and context.method_name == "__call__":
                raise ValueError(f"layer {name}: {error}") from error
            raise
        if context.method_name == "__call__" and args:
            shapes = (jnp.shape(args[0]), jnp.shape(outputs))
            calls.setdefault(name, []).append((context.module, *shapes))
        return outputs

    def initialize() -> Any:
        return model.init(jax.random.key(0), jnp.zeros((1, *image_shape)))["params"]

    with nn.intercept_methods(record):
        params = jax.eval_shape(initialize)
    layers: dict[str, dict[str, Any]] = {
        name: {} for name, of_name in calls.items() if isinstance(of_name[0][0], NoLayer)
    }
    for path, leaf in traverse_util.flatten_dict(params).items():
        layers.setdefault("/".join(path[:-1]), {})[path[-1]] = leaf
    by_call_order = sorted(layers, key=list(calls).index)
    frozen = frozen_layers(model)
    return [
        dataclasses.replace(_layer_cost(name, layers[name], calls[name]), frozen=name in frozen)
        for name in by_call_order
    ]


def totals(costs: Sequence[LayerCost]) -> dict[str, Any]:
    """Returns parameters (biases included) and FLOPs of the whole model, and their reductions.

    Frozen layers count in all of these; `trained_parameters` alone is without them.
    """
    biases = sum(cost.bias_parameters for cost in costs)
    parameters = biases + sum(cost.parameters for cost in costs)
    dense_parameters = biases + sum(cost.dense_parameters for cost in costs)
    flops, dense_flops = sum(c.flops for c in costs), sum(c.dense_flops for c in costs)
    return {
        "parameters": parameters,
        "trained_parameters": sum(
            cost.parameters + cost.bias_parameters for cost in costs if not cost.frozen
        ),
        "dense_parameters": dense_parameters,
        "reduction": _reduction(parameters, dense_parameters),
        "flops_per_example": flops,
        "dense_flops_per_example": dense_flops,
        "flops_reduction": _reduction(flops, dense_flops),
    }


def cost_table(costs: Sequence[LayerCost]) -> str:
    """Returns a table of the layers as text, and a last line for the whole model."""
    head = ("layer", "kind", "structure", "parameters", "dense", "reduction", "bias", "FLOPs")
    rows = [
        (
            cost.name,
            f"{cost.kind}, frozen" if cost.frozen else cost.kind,
            cost.structure,
            f"{cost.parameters:,}",
            f"{cost.dense_parameters:,}",
            f"{cost.reduction:.2%}",
            f"{cost.bias_parameters:,}",
            f"{cost.flops:,}",
        )
        for cost in costs
    ]
    lines = text_table(head, rows, text_columns=3)
    return "\n".join([*lines, model_line(costs)])


def model_line(costs: Sequence[LayerCost]) -> str:
    """Returns what the whole model costs, in words."""
    total = totals(costs)
    trained = f", {total['trained_parameters']:,} of them trained"
    return (
        f"whole model: {total['parameters']:,} parameters, biases included"
        f"{trained if any(cost.frozen for cost in costs) else ''} "
        f"({total['dense_parameters']:,} with dense layers, a reduction of "
        f"{total['reduction']:.2%}); {total['flops_per_example']:,} FLOPs per example "
        f"({total['dense_flops_per_example']:,})"
    )


def _layer_cost(name: str, params: dict[str, Any], calls: list[Any]) -> LayerCost:
    """Returns the cost of one layer, from its parameters' shapes and its calls."""
    kernels = {key: leaf for key, leaf in params.items() if kind_of_parameter(key)}
    parameters = sum(math.prod(leaf.shape) for leaf in kernels.values())
    bias_parameters = sum(math.prod(leaf.shape) for leaf in params.values()) - parameters
    module, input_shape, output_shape = calls[0]
    inputs, features = input_shape[-1], output_shape[-1]
    # How often the kernel is applied to one example: positions, times, calls.
    times = sum(math.prod(shape[1:-1]) for _, _, shape in calls)
    dense_parameters, flops = inputs * features, 2 * parameters
    match module:
        case FactoredDense():
            structure = module.resolve_structure(inputs)
            kind, text, flops = structure.kind, str(structure), structure.flops(1)
        case nn.Dense():
            kind, text = DenseStructure.kind, f"{inputs}x{features}"
        case NoLayer():
            kind, text, dense_parameters = NO_LAYER, NO_LAYER, 0
        case nn.Conv():
            kind, text = "conv", "x".join(map(str, kernels[DenseStructure.parameter].shape))
            dense_parameters = parameters
        case _:
            kind, text, dense_parameters, flops = type(module).__name__, "", parameters, 0
    dense_flops = 2 * dense_parameters if flops else 0
    return LayerCost(
        name=name,
        kind=kind,
        structure=text,
        parameters=parameters,
        bias_parameters=bias_parameters,
        dense_parameters=dense_parameters,
        flops=times * flops,
        dense_flops=times * dense_flops,
    )


def _reduction(compressed: int, original: int) -> float:
    return 1 - compressed / original if original else 0.0
