"""What can be replaced in a model: the one place that knows.

A layer is a kernel that the model multiplies by, in whatever module, loop or layout. `find_layers`
traces the model to know; `dense_layers` goes by the parameters' names alone, and knows those that
are stored as `nn.Dense` stores them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kfc_jax.compress.boxes import AxisNames, names_of, without_boxes
from kfc_jax.compress.functions import ModelFunction
from kfc_jax.compress.parameter_trees import array_at, key_path, leaves_of_layers
from kfc_jax.structures import DenseStructure
from kfc_jax.tracing import KernelAxes, ReadKernel, find_kernels

MATRIX = KernelAxes((), (0,), (1,))
"""The axes of a kernel ``(inputs, features)``."""

_KERNEL_NAMES = (DenseStructure.parameter, "embedding")
_BIAS = "bias"


@dataclasses.dataclass(frozen=True)
class Layer:
    """A kernel of a model that can be replaced, and its bias.

    Attributes:
      keys: where the module is in the parameters; the kernel itself if it has a name of its own.
      name: the name of the kernel in the module; empty if it has a name of its own.
      kernel: its array, of whatever layout.
      bias: the array beside it that is added to the products; None without one.
      axes: which axes of the kernel are what.
      is_table: whether rows are looked up, as in an embedding.
      axis_names: the names of the kernel's axes, if it was in a box that has them.
    """

    keys: tuple[Any, ...]
    name: str
    kernel: Any
    bias: Any | None
    axes: KernelAxes = MATRIX
    is_table: bool = False
    axis_names: AxisNames = ()

    @property
    def path(self) -> str:
        """The keys as text, ``block/fc1``."""
        return "/".join(map(str, self.keys))

    @property
    def kernel_path(self) -> str:
        """The path of the kernel's array."""
        return "/".join(filter(None, (self.path, self.name)))

    @property
    def matrices(self) -> Any:
        """The kernel as matrices ``(*stack, inputs, features)``."""
        return self.axes.to_matrices(self.kernel)

    def each_matrix(self) -> list[Any]:
        """Returns the matrices ``(inputs, features)`` one by one; one without a stack."""
        if self.axes == MATRIX:
            return [self.kernel]
        return list(self.matrices.reshape(-1, *self.size))

    @property
    def size(self) -> tuple[int, int]:
        """The numbers of inputs and features."""
        return self.axes.size(self.kernel.shape)

    @property
    def stack_shape(self) -> tuple[int, ...]:
        """The sizes of the stack's axes; none for a single kernel."""
        return tuple(self.kernel.shape[axis] for axis in self.axes.stack)

    @property
    def read(self) -> ReadKernel:
        """How the model reads the kernel."""
        return ReadKernel(tuple(self.kernel.shape), self.axes, self.is_table)

    def check_numbers(self) -> None:
        """Checks that the layer's numbers are there and finite.

        Raises:
          ValueError: naming the layer whose numbers are not.
        """
        for name, array in ((self.name or "kernel", self.kernel), (_BIAS, self.bias)):
            if array is None:
                continue
            check_has_numbers(array, f"The {name} of layer {self.path!r} is")
            if not (jnp.issubdtype(array.dtype, jnp.floating) and np.isfinite(array).all()):
                raise ValueError(
                    f"The {name} of layer {self.path!r} has numbers that are NaN, infinite or not "
                    "floating: take a checkpoint from before the training diverged."
                )


@dataclasses.dataclass(frozen=True, eq=False)
class Traced:
    """What was traced: a model with inputs.

    Attributes:
      run: the function of ``(params, rest, *args)``.
      rest: what the model keeps beside its parameters.
      args: the inputs.
    """

    run: Callable[..., Any]
    rest: Any
    args: tuple[Any, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class ModelLayers(Mapping[str, Layer]):
    """The layers of a model that can be replaced, by path, and why others cannot.

    Attributes:
      params: the parameters, in any containers, without boxes.
      layers: the layers by their paths.
      others: for every other array of two axes or more, by its path, why it is no such layer.
      traced: the model with the inputs that it was traced with; None if layers were found by their
        names alone.
      boxes: the boxes that were around arrays, by path; `convert` puts them around its own.
    """

    params: Any
    layers: Mapping[str, Layer]
    others: Mapping[str, str]
    traced: Traced | None = None
    boxes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def is_traced(self) -> bool:
        """Whether the model was traced."""
        return self.traced is not None

    @property
    def variables(self) -> Any:
        """The variables of a linen module, with these parameters."""
        return {"params": self.params, **(self.traced.rest if self.traced else {})}

    def __getitem__(self, path: str) -> Layer:
        return self.layers[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __str__(self) -> str:
        lines = [
            f"{path}: {layer.size[0]}x{layer.size[1]}"
            + (f", {layer.stack_shape[0]} of them" if layer.stack_shape else "")
            for path, layer in self.layers.items()
        ]
        return "\n".join([*lines, *(f"{path}: no; {why}" for path, why in self.others.items())])


def find_layers(model: Any, variables: Any = None, *args: Any, **kwargs: Any) -> ModelLayers:
    """Finds what can be replaced in a model, by tracing it; nothing is computed.

    A kernel can be replaced if all that the model does with it are products, in any layout:
    `nn.Dense`, `nn.DenseGeneral`, `nn.Einsum`, attention, recurrent cells, embeddings, stacks of
    layers made by `nn.scan` or `nn.vmap`, and their nnx twins; also inside `nn.remat`, `nn.cond`
    and loops. ``print`` shows the layers, and the reason for every other array.

    Example::

      >>> import flax.linen as nn, jax, jax.numpy as jnp
      >>> from kfc_jax import find_layers
      >>> model, x = nn.Sequential([nn.Dense(5), nn.WeightNorm(nn.Dense(3))]), jnp.ones((8, 4))
      >>> print(find_layers(model, model.init(jax.random.key(0), x), x))
      layers_0: 4x5
      layers_1/layer_instance/kernel: no; the model passes it to 'mul'

    Args:
      model: a linen or nnx module, or a function of ``(params, *args, **kwargs)``.
      variables: the variables of a linen module, also as `jax.eval_shape` describes them, or the
        parameters that a function takes; an nnx module has its own: None.
      *args: inputs of the model, as it is called; any of its batch sizes will do.
      **kwargs: further ones that are no arrays, such as ``train=False`` or ``rngs``.
    """
    function = ModelFunction.of(model, variables)

    def run(params: Any, rest: Any, *args: Any) -> Any:
        return function.run(params, rest, *args, **kwargs)

    read, reasons = find_kernels(run, function.params, function.rest, *args)
    layers = {}
    for keys, leaf in key_paths(function.params):
        path = "/".join(map(str, keys))
        if path in read:
            names = names_of(function.boxes.get(path))
            layer = _layer_of(function.params, keys, leaf, read[path], names)
            layers[layer.path] = layer
    biases = {"/".join((*map(str, each.keys), _BIAS)) for each in layers.values()}
    others = {path: why for path, why in reasons.items() if path not in biases}
    traced = Traced(run, function.rest, args)
    return ModelLayers(function.params, layers, others, traced, function.boxes)


def check_has_numbers(tree: Any, subject: str = "The parameters are") -> None:
    """Checks that parameters are no descriptions, as `jax.eval_shape` gives.

    Raises:
      ValueError: if one is.
    """
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(tree)):
        raise ValueError(
            f"{subject} described by jax.ShapeDtypeStruct, without numbers, which is enough for "
            "find_layers alone: give the trained parameters."
        )


def find_layers_again(layers: ModelLayers, params: Any, rest: Any) -> ModelLayers:
    """Returns the layers of the same model with other arrays of the same shapes."""
    assert layers.traced is not None
    new = {
        path: layer_at(params, path, layer.name, layer.read, layer.axis_names)
        for path, layer in layers.items()
    }
    traced = dataclasses.replace(layers.traced, rest=rest)
    return ModelLayers(params, new, layers.others, traced, layers.boxes)


def key_paths(params: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """Returns the keys and the array of every leaf, in JAX's order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return [(key_path(path), leaf) for path, leaf in leaves]


def layer_at(
    params: Any, path: str, name: str, read: ReadKernel, axis_names: AxisNames = ()
) -> Layer:
    """Returns a layer whose path, kernel's name and layout are known.

    Raises:
      ValueError: if it is not in the parameters.
    """
    wanted = "/".join(filter(None, (path, name)))
    for keys, leaf in key_paths(params):
        if "/".join(map(str, keys)) == wanted:
            return _layer_of(params, keys, leaf, read, axis_names)
    raise ValueError(
        f"The parameters have no kernel {wanted!r}, as the plan has: take the plan of this model."
    )


def _layer_of(
    params: Any, keys: tuple[Any, ...], kernel: Any, read: ReadKernel, axis_names: AxisNames
) -> Layer:
    *module, name = keys
    beside = array_at(params, module)
    if name not in _KERNEL_NAMES or not isinstance(beside, Mapping):
        return Layer(keys, "", kernel, None, read.axes, read.is_table, axis_names)
    bias = beside.get(_BIAS)
    shape = tuple(read.shape[axis] for axis in (*read.axes.stack, *read.axes.columns))
    if getattr(bias, "shape", None) != shape:
        bias = None
    return Layer(tuple(module), name, kernel, bias, read.axes, read.is_table, axis_names)


def dense_layers(params: Mapping[str, Any] | ModelLayers) -> ModelLayers:
    """Returns the layers that parameters hold by their names: a matrix ``kernel``, and its bias.

    What else a model multiplies by, and whether it does something else with these, is not known
    here: `find_layers` knows.

    Raises:
      ValueError: if these are all of a model's variables.
    """
    if isinstance(params, ModelLayers):
        return params
    if isinstance(params.get("params"), Mapping):
        raise ValueError(
            f"These are a model's variables ({', '.join(map(str, params))}), not its parameters: "
            'give variables["params"].'
        )
    params, boxes = without_boxes(params)
    layers, others = {}, {}
    for path, (keys, arrays) in leaves_of_layers(params):
        kernel = arrays.get(DenseStructure.parameter)
        is_plain = not arrays.keys() - {DenseStructure.parameter, _BIAS}
        if kernel is not None and np.ndim(kernel) == 2 and is_plain:
            layer = Layer(keys, DenseStructure.parameter, kernel, arrays.get(_BIAS))
            names = names_of(boxes.get(layer.kernel_path))
            layers[path] = dataclasses.replace(layer, axis_names=names)
        else:
            others |= {
                "/".join(filter(None, (path, str(name)))): "its name does not tell what it is"
                for name, array in arrays.items()
                if np.ndim(array) > 1
            }
    return ModelLayers(params, layers, others, boxes=boxes)
