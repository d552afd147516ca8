"""NNX modules made small: run on factors as they are, or with other layers put in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import nnx

from kfc_jax.compress.conversion import convert, to_dense
from kfc_jax.compress.layer_statistics import Statistics
from kfc_jax.compress.model_layers import Layer, find_layers
from kfc_jax.compress.parameter_trees import array_at, leaves_of_layers
from kfc_jax.compress.plan import CompressionPlan, LayerPlan, Structures, plans_of
from kfc_jax.compress.replace import factors_in_place
from kfc_jax.decompose import DecompositionReport
from kfc_jax.nnx import BlockDiagonalLinear, KFCEmbed, KFCLinear, LowRankLinear
from kfc_jax.structures import (
    BlockDiagonalStructure,
    DenseStructure,
    KroneckerStructure,
    LowRankStructure,
)
from kfc_jax.tracing import run_on_factors


class _Planned(dict[str, LayerPlan]):
    """What became of the layers by path: known to a module, and no part of its state."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted((path, plan.structure) for path, plan in self.items())))


class CompressedModule(nnx.Module):
    """An NNX module of any class, run on factors in place of kernels.

    The module in it holds factors as `nnx.Param` where kernels were, under the names that they have
    in `kfc_jax.nnx.KFCLinear`, so that an `nnx.Optimizer` trains them, and what knows factors by
    their names finds them. It is called as the dense module is; running averages and random streams
    move on as they do there. `convert_module` makes it.

    Attributes:
      module: the module with factors. Its own methods cannot run without this class.
    """

    def __init__(self, module: nnx.Module, params: Any, plan: Mapping[str, LayerPlan]) -> None:
        """Takes a module's copy and gives it factors.

        Args:
          module: the dense module; it is changed.
          params: its parameters, as `convert` returns them.
          plan: what became of its layers, by path.
        """
        changed = {path: its for path, its in plan.items() if its.method != DenseStructure.kind}
        self._planned = nnx.static(_Planned(changed))
        modules = dict(leaves_of_layers(params))
        for path, its in changed.items():
            keys, arrays = modules[path]
            owner = _at(module, keys)
            delattr(owner, its.name)
            for name, array in arrays.items():
                setattr(owner, name, nnx.Param(array))
        self.module = module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the module."""
        graph, state, rest = nnx.split(self.module, nnx.Param, ...)
        tree, factors = factors_in_place(nnx.to_pure_dict(state), self._planned)

        def run(params: Any) -> Any:
            module = self._dense(nnx.merge(graph, *_copies(state, rest)), params)
            outputs = module(*args, **kwargs)
            return outputs, nnx.to_pure_dict(nnx.split(module, nnx.Param, ...)[2])

        outputs, moved = run_on_factors(run, tree, factors)
        nnx.replace_by_pure_dict(rest, moved)
        nnx.update(self.module, rest)
        return outputs

    def to_dense(self) -> nnx.Module:
        """Returns a module of the dense class, with the kernels that the factors stand for."""
        params = nnx.to_pure_dict(nnx.state(self.module, nnx.Param))
        plan = CompressionPlan(tuple(self._planned.values()))
        return self._dense(nnx.clone(self.module), to_dense(params, plan))

    def _dense(self, module: Any, params: Any) -> Any:
        """Returns a copy of the module with parameters of the dense one."""
        modules = dict(leaves_of_layers(params))
        for path, its in self._planned.items():
            owner = _at(module, modules[path][0])
            for name in its.kernel.array_shapes:
                delattr(owner, name)
            setattr(owner, its.name, nnx.Param(modules[path][1][its.name]))
        nnx.update(module, _state_of(module, params))
        return module


def _copies(*states: Any) -> list[Any]:
    """Returns states whose variables may be changed."""
    return [jax.tree.map(lambda leaf: leaf, state) for state in states]


def _state_of(module: nnx.Module, params: Any) -> Any:
    """Returns the state of a module with these parameters."""
    (state,) = _copies(nnx.state(module, nnx.Param))
    nnx.replace_by_pure_dict(state, params)
    return state


def convert_module(
    module: nnx.Module,
    plan: Structures,
    *args: Any,
    statistics: Statistics | None = None,
    in_place: bool = False,
    **kwargs: Any,
) -> tuple[nnx.Module, dict[str, DecompositionReport]]:
    """Returns an NNX module with factors in place of the kernels that the plan replaces.

    Example::

      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from kfc_jax.compress import convert_module
      >>> model = nnx.Sequential(nnx.Linear(48, 64, rngs=nnx.Rngs(0)), nnx.relu)
      >>> x = jnp.ones((8, 48))
      >>> small, _ = convert_module(model, {"layers/0": "2:6x8*8x8"}, x)
      >>> small(x).shape
      (8, 64)

    Args:
      module: the dense module.
      plan: a plan, or structures by the layers' paths, as `convert` takes them.
      *args: inputs of the module, as it is called; any batch size will do.
      statistics: what the layers see, as `convert` takes it.
      in_place: whether the module itself gets layers of `kfc_jax.nnx` where its `nnx.Linear` and
        `nnx.Embed` are; all that are replaced must be such layers. Else the module stays as it is,
        and a `CompressedModule` with the same function is returned.
      **kwargs: further inputs that are no arrays.

    Returns:
      The module, and a report for every layer that was replaced. Metadata of kernels, such as the
      names of their axes, is not carried over to the factors.

    Raises:
      ValueError: as `convert`; or, in place, naming a layer that is none of these.
    """
    layers = find_layers(module, None, *args, **kwargs)
    planned = plans_of(plan, layers)
    if not in_place:
        params, reports = convert(layers, plan, statistics=statistics)
        return CompressedModule(nnx.clone(module), params, planned), reports
    new = {
        path: _layer_in_place(_at(module, layers[path].keys), layers[path], its)
        for path, its in planned.items()
        if its.method != DenseStructure.kind
    }
    params, reports = convert(layers, plan, statistics=statistics)
    for path, layer in new.items():
        keys = layers[path].keys
        for name, array in array_at(params, keys).items():
            getattr(layer, name).set_value(array)
        _put(module, keys, layer)
    return module, reports


def _at(module: Any, keys: Sequence[Any]) -> Any:
    for key in keys:
        module = getattr(module, key) if isinstance(key, str) else module[key]
    return module


def _put(module: Any, keys: Sequence[Any], layer: nnx.Module) -> None:
    *above, key = keys
    owner = _at(module, above)
    if isinstance(key, str):
        setattr(owner, key, layer)
    else:
        owner[key] = layer


def _layer_in_place(old: Any, layer: Layer, plan: LayerPlan) -> nnx.Module:
    """Returns a layer of `kfc_jax.nnx` with the fields of the dense one."""
    structure, rngs = plan.kernel, nnx.Rngs(0)
    if layer.axes.stack != tuple(range(len(layer.axes.stack))):
        raise ValueError(
            f"The kernels of layer {layer.path!r} are stacked along axis {layer.axes.stack[-1]}, "
            "and factors are along the first: convert without in_place, or leave it out of the "
            "plan."
        )
    if type(old) is nnx.Embed and isinstance(structure, KroneckerStructure):
        return KFCEmbed(
            old.num_embeddings,
            old.features,
            structure=structure,
            dtype=old.dtype,
            param_dtype=old.param_dtype,
            promote_dtype=old.promote_dtype,
            rngs=rngs,
        )
    if type(old) is not nnx.Linear or not layer.keys:
        raise ValueError(
            f"Layer {layer.path!r} is of {type(old).__name__}, for which no layer of kfc_jax.nnx "
            f"stands as '{structure}': convert without in_place, or leave it out of the plan."
        )
    fields: dict[str, Any] = {
        name: getattr(old, name)
        for name in ("use_bias", "dtype", "param_dtype", "precision", "dot_general")
    }
    fields |= {"promote_dtype": old.promote_dtype, "rngs": rngs}
    fields["preferred_element_type"] = old.preferred_element_type
    size = old.in_features, old.out_features
    if isinstance(structure, LowRankStructure):
        return LowRankLinear(*size, rank=structure.rank, **fields)
    if isinstance(structure, BlockDiagonalStructure):
        return BlockDiagonalLinear(*size, structure=structure, **fields)
    if isinstance(structure, KroneckerStructure):
        return KFCLinear(*size, structure=structure, **fields)
    raise ValueError(
        f"Layer {layer.path!r} gets '{structure}', for which there is no NNX layer: convert it "
        "without in_place."
    )
