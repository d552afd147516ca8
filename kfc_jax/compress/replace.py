"""Running a model that was written with dense kernels on factors, without an edit."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kfc_jax.compress.boxes import boxes_of_factors, with_boxes
from kfc_jax.compress.functions import parameters_stay
from kfc_jax.compress.layer_arrays import planned_arrays
from kfc_jax.compress.model_layers import Layer, ModelLayers, find_layers
from kfc_jax.compress.model_table import model_table
from kfc_jax.compress.parameter_trees import array_at, copy_tree, leaves_of_layers, with_module
from kfc_jax.compress.plan import CompressionPlan, LayerPlan, Structures, structures_of
from kfc_jax.layers import layer_for
from kfc_jax.structures import DenseStructure, LayerStructure
from kfc_jax.tracing import FactoredLeaf, run_on_factors


@dataclasses.dataclass(frozen=True, eq=False)
class CompressedModel:
    """A model in which the kernels of a plan are stored as factors.

    It has the model's ``init`` and ``apply``, with the same arguments. Its variables are those of
    the model, with factors where kernels were: those that `convert` returns, or new ones. The model
    is traced, and products with the kernels are done factor by factor, whatever modules they are
    in; where the model does anything else with a kernel, the kernel is formed.

    Example::

      >>> import flax.linen as nn, jax, jax.numpy as jnp
      >>> from kfc_jax import CompressedModel, convert
      >>> model, x = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(10)]), jnp.ones((8, 48))
      >>> structures = {"layers_0": "2:6x8*8x8"}
      >>> params, _ = convert(model.init(jax.random.key(0), x)["params"], structures)
      >>> CompressedModel(model, structures).apply({"params": params}, x).shape
      (8, 10)

    Attributes:
      model: the model, or whatever has Flax's ``init`` and ``apply``.
      structures: a `CompressionPlan`, or the structures by the layers' paths.
    """

    model: Any
    structures: Structures

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CompressedModel) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return self.model, tuple(sorted(structures_of(self.structures).items()))

    def init(self, rngs: Any, *args: Any, **kwargs: Any) -> Any:
        """Returns new variables, as ``model.init`` does.

        Kernels are drawn as the model draws them, and factors that take over their variance put in
        their place.

        Raises:
          ValueError: if a structure is for a layer that the model does not have.
        """
        variables = self.model.init(rngs, *args, **kwargs)
        return self._with_factors(variables, rngs, args, kwargs)

    def init_with_output(self, rngs: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Returns what the model gives for new variables, and these.

        Raises:
          ValueError: as `init`.
        """
        variables = self.init(rngs, *args, **kwargs)
        outputs = self.apply(variables, *args, rngs=_streams(rngs), mutable=True, **kwargs)[0]
        return outputs, variables

    def lazy_init(self, rngs: Any, *args: Any, **kwargs: Any) -> Any:
        """Returns new variables for inputs that may be described by `jax.ShapeDtypeStruct`.

        Raises:
          ValueError: as `init`.
        """
        variables = self.model.lazy_init(rngs, *args, **kwargs)
        return self._with_factors(variables, rngs, args, kwargs)

    def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any:
        """Runs the model, as ``model.apply`` does; the parameters are never mutable.

        Raises:
          ValueError: if the arrays of a layer are not those of its structure.
        """
        params = nn.unbox(variables["params"])
        tree, factors = factors_in_place(params, self.planned(params, *args, **kwargs))
        rest = {name: value for name, value in variables.items() if name != "params"}

        def run(params: Any) -> Any:
            return self.model.apply({"params": params, **rest}, *args, **parameters_stay(kwargs))

        return run_on_factors(run, tree, factors)

    def tabulate(self, rngs: Any, *args: Any, **kwargs: Any) -> str:
        """Returns a table of the arrays that `init` makes, without making them.

        Raises:
          ValueError: as `init`.
        """
        variables = jax.eval_shape(lambda *args: self.init(rngs, *args, **kwargs), *args)
        return model_table(variables, structures_of(self.structures))

    def bind(self, variables: Any, **kwargs: Any) -> BoundModel:
        """Returns the model with its variables, whose methods are called as they are."""
        return BoundModel(self, variables, kwargs)

    def clone(self, **fields: Any) -> CompressedModel:
        """Returns a copy with other fields of the model."""
        return dataclasses.replace(self, model=self.model.clone(**fields))

    def planned(self, params: Any, *args: Any, **kwargs: Any) -> dict[str, LayerPlan]:
        """Returns what becomes of the layers that are replaced, by path.

        If the structures are no plan, the model is traced for the layout of its kernels.
        """
        if isinstance(self.structures, CompressionPlan):
            return {p.path: p for p in self.structures.layers if p.method != DenseStructure.kind}
        rngs = {"params": jax.random.key(0), **_streams(kwargs.get("rngs"))}
        own = ("rngs", "mutable", "capture_intermediates")
        options = {name: value for name, value in kwargs.items() if name not in own}
        init = functools.partial(self.model.init, rngs, **options)
        layers = find_layers(self.model, jax.eval_shape(init, *args), *args, **kwargs)
        return self._planned(layers, is_whole="method" not in kwargs)

    def _planned(self, layers: ModelLayers, *, is_whole: bool) -> dict[str, LayerPlan]:
        """Returns what becomes of the layers; those that a method leaves out may be missing."""
        planned = {}
        for path, text in structures_of(self.structures).items():
            if text == DenseStructure.kind:
                continue
            if path in layers:
                planned[path] = LayerPlan.of(layers[path], text)
            elif is_whole:
                why = layers.others.get(f"{path}/{DenseStructure.parameter}", "")
                raise ValueError(
                    f"The model calls no dense layer {path!r}, for which there is the structure "
                    f"'{text}'{f': {why}' if why else ''}; it has "
                    f"{', '.join(layers) or 'none that can be replaced'}."
                )
        return planned

    def _with_factors(self, variables: Any, rngs: Any, args: Any, kwargs: Any) -> Any:
        """Returns variables of the model with new factors in place of kernels."""
        layers = find_layers(
            self.model, variables, *args, rngs=_streams(rngs), mutable=True, **kwargs
        )
        new, boxes = copy_tree(layers.params), dict(layers.boxes)
        key = _streams(rngs).get("params", jax.random.key(0))
        planned = self._planned(layers, is_whole="method" not in kwargs)
        for path, plan in planned.items():
            layer = layers[path]
            arrays = _new_factors(plan.kernel, layer, _key_of(key, path))
            if layer.name:
                stored = array_at(layers.params, layer.keys)
                arrays |= {name: a for name, a in stored.items() if name != layer.name}
            new = with_module(new, layer.keys, arrays)
            if (box := boxes.pop(layer.kernel_path, None)) is not None:
                boxes |= boxes_of_factors(path, plan.kernel, layer.axes, box)
        return {**variables, "params": with_boxes(new, boxes)}


def factors_in_place(
    params: Any, planned: Mapping[str, LayerPlan]
) -> tuple[Any, dict[str, FactoredLeaf]]:
    """Returns a tree like the dense model's parameters, and the factors of its kernels by path.

    In the tree there is a description in the place of every kernel that is stored as factors.

    Raises:
      ValueError: if the arrays of a layer are not those of its structure.
    """
    tree, factors = copy_tree(params), {}
    modules = dict(leaves_of_layers(params))
    for path, plan in planned.items():
        if path not in modules:
            raise ValueError(
                f"The parameters have no layer {path!r}; they have {', '.join(modules) or 'none'}."
            )
        keys, arrays = modules[path]
        leaf = FactoredLeaf(plan.kernel, planned_arrays(plan, arrays), plan.read)
        place: Any = jax.ShapeDtypeStruct(plan.read.shape, leaf.dtype)
        if plan.name:
            rest = {name: array for name, array in arrays.items() if name not in leaf.arrays}
            place = {plan.name: place, **rest}
        tree = with_module(tree, keys, place)
        factors["/".join(filter(None, (path, plan.name)))] = leaf
    return tree, factors


@dataclasses.dataclass(frozen=True)
class BoundModel:
    """A compressed model with its variables: its methods take the inputs alone.

    Attributes:
      model: the compressed model.
      variables: its variables.
      options: what is passed to every call, such as ``rngs`` or ``mutable``.
    """

    model: CompressedModel
    variables: Any
    options: Mapping[str, Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the model."""
        return self.model.apply(self.variables, *args, **self.options, **kwargs)

    def __getattr__(self, method: str) -> Any:
        """Returns a method of the model."""
        if method.startswith("_") or not callable(getattr(self.model.model, method)):
            raise AttributeError(f"{type(self.model.model).__name__} has no method {method!r}.")
        return functools.partial(self, method=method)


def _streams(rngs: Any) -> dict[str, Any]:
    """Returns random keys by their names, as Flax takes one alone for all."""
    if rngs is None:
        return {}
    return dict(rngs) if isinstance(rngs, Mapping) else {"params": rngs}


def _key_of(key: Any, path: str) -> Any:
    return jax.random.fold_in(key, zlib.crc32(path.encode()))


def _new_factors(structure: LayerStructure, layer: Layer, key: Any) -> dict[str, Any]:
    """Returns new arrays of a layer whose dense kernel was drawn already."""

    def one(key: Any, kernel: Any) -> Any:
        inputs = jnp.zeros((1, structure.inputs), kernel.dtype)
        fields = {"use_bias": False, "param_dtype": inputs.dtype}
        dense = layer_for(structure, structure.features, kernel_init=lambda *_: kernel, **fields)
        return dense.init(key, inputs)["params"]

    if not layer.stack_shape:
        return dict(one(key, layer.each_matrix()[0]))
    # One after the other: initialisers may draw what is not to be drawn in a batch.
    kernels = layer.each_matrix()
    each = [one(*pair) for pair in zip(jax.random.split(key, len(kernels)), kernels, strict=True)]
    return jax.tree.map(lambda *a: jnp.stack(a).reshape(*layer.stack_shape, *a[0].shape), *each)
