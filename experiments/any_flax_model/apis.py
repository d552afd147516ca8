"""Models of both APIs as functions of their parameters, dense and compressed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from flax import nnx

from experiments.any_flax_model import linen_models, nnx_models
from experiments.any_flax_model.recipes import Sizes, architecture
from kfc_jax.compress import (
    CompressedModel,
    CompressionPlan,
    convert,
    convert_module,
    find_layers,
    input_statistics,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Function:
    """A model as a function of its parameters.

    Attributes:
      apply: takes parameters and inputs, and returns logits.
      params: nested dictionaries of arrays.
    """

    apply: Callable[[Any, Any], Any]
    params: Any

    @property
    def size(self) -> int:
        """The number of parameters."""
        return sum(np.size(leaf) for leaf in jax.tree.leaves(self.params))


class LinenModel:
    """A linen model, dense at first."""

    def __init__(self, module: Any, inputs: Any):
        self._module, self._inputs = module, inputs

    def init(self, seed: int) -> Function:
        """Returns it with new parameters."""
        params = jax.jit(self._module.init)(jax.random.key(seed), self._inputs)["params"]
        return Function(self._apply, params)

    def find_layers(self, params: Any) -> Any:
        """Returns what can be replaced."""
        return find_layers(self._module, {"params": params}, self._inputs)

    def statistics(self, params: Any, batches: Iterable[Any]) -> Any:
        """Returns what its layers see."""
        return input_statistics(self._module, {"params": params}, batches)

    def compressed(self, params: Any, plan: CompressionPlan, seen: Any) -> Function:
        """Returns it on factors."""
        small, _ = convert(self.find_layers(params), plan, statistics=seen)
        model = CompressedModel(self._module, plan)
        return Function(lambda params, inputs: model.apply({"params": params}, inputs), small)

    def _apply(self, params: Any, inputs: Any) -> Any:
        return self._module.apply({"params": params}, inputs)


class NNXModel:
    """An NNX model, dense at first."""

    def __init__(self, make: Callable[[nnx.Rngs], nnx.Module], inputs: Any):
        self._make, self._inputs = make, inputs
        self._graph, self._state = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))

    def init(self, seed: int) -> Function:
        """Returns it with new parameters."""
        return _function(self._make(nnx.Rngs(seed)))

    def find_layers(self, params: Any) -> Any:
        """Returns what can be replaced."""
        return find_layers(self._module(params), None, self._inputs)

    def statistics(self, params: Any, batches: Iterable[Any]) -> Any:
        """Returns what its layers see."""
        return input_statistics(self._module(params), None, batches)

    def compressed(self, params: Any, plan: CompressionPlan, seen: Any) -> Function:
        """Returns it on factors."""
        module = self._module(params)
        return _function(convert_module(module, plan, self._inputs, statistics=seen)[0])

    def _module(self, params: Any) -> nnx.Module:
        return _merged(self._graph, self._state, params)


def model_of(name: str, sizes: Sizes, outputs: int, inputs: Any) -> LinenModel | NNXModel:
    """Returns a model of the comparison, for inputs like these."""
    kind, api = architecture(name)
    if api == "linen":
        return LinenModel(linen_models.ARCHITECTURES[kind](sizes, outputs), inputs)
    made = nnx_models.ARCHITECTURES[kind]
    return NNXModel(lambda rngs: made(sizes, outputs, rngs=rngs), inputs)


def _function(module: nnx.Module) -> Function:
    graph, state = nnx.split(module)

    def apply(params: Any, inputs: Any) -> Any:
        return _merged(graph, state, params)(inputs)

    return Function(apply, nnx.to_pure_dict(state))


def _merged(graph: Any, state: Any, params: Any) -> Any:
    """Returns a module; all that it keeps are parameters."""
    state = jax.tree.map(lambda leaf: leaf, state)  # the variables of a copy may be changed
    nnx.replace_by_pure_dict(state, params)
    return nnx.merge(graph, state)
