"""The plan of a compressed model: what becomes of every dense layer. Pure data, no arrays."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from kfc_jax.compress.kernel_energies import KernelEnergies
from kfc_jax.compress.layer_statistics import check_paths
from kfc_jax.compress.model_layers import MATRIX, Layer, ModelLayers, dense_layers, layer_at
from kfc_jax.structures import DenseStructure, LayerStructure, read_layer_structure
from kfc_jax.text_table import text_table
from kfc_jax.tracing import KernelAxes, ReadKernel

_LARGEST_BATCH = 2**30


@dataclasses.dataclass(frozen=True)
class LayerPlan:
    """What becomes of one dense layer.

    Attributes:
      path: where the layer is in the tree of parameters, ``block/mlp/Dense_0``.
      inputs: rows of its kernel.
      features: columns of its kernel.
      structure: the text form of any kind: ``dense`` (the layer is left as it is), ``rank 3``
        (``LowRankDense``), that of a ``KroneckerStructure`` (``KFCDense``), ...
      relative_error: the relative error of the kernel, ``||kernel - approx|| / ||kernel||``.
      output_error: the relative error of the layer's output over the inputs that the plan was made
        with; None if it was made without statistics. Errors of a stack are root mean squares.
      name: the name of the kernel in its module; empty if the path is the kernel's own.
      shape: the shape of the kernel's array; empty for ``(inputs, features)``.
      stack: the axes of it that count kernels, all of this structure.
      rows: the axes that together are the inputs.
      is_table: whether rows are looked up, as in an embedding.
      axis_names: the names of the array's axes, if it was in a box that has them.
      is_too_small: whether no structure that the plan may choose makes it smaller and faster.
      energies: whether the kernel has the structure, beside what a random kernel has; None where
        the plan compared no Kronecker products.

    Raises:
      ValueError: if the structure cannot be read or does not fit the kernel.
    """

    path: str
    inputs: int
    features: int
    structure: str
    relative_error: float = 0.0
    output_error: float | None = None
    name: str = DenseStructure.parameter
    shape: tuple[int, ...] = ()
    stack: tuple[int, ...] = ()
    rows: tuple[int, ...] = (0,)
    is_table: bool = False
    axis_names: tuple[Any, ...] = ()
    is_too_small: bool = False
    energies: KernelEnergies | None = None

    @classmethod
    def of(cls, layer: Layer, structure: LayerStructure | str) -> LayerPlan:
        """Returns what becomes of a layer.

        Raises:
          ValueError: if the structure cannot be read or does not fit the kernel.
        """
        text = " ".join(str(structure).split())
        if layer.axes == MATRIX and not layer.is_table and layer.name == DenseStructure.parameter:
            return cls(layer.path, *layer.size, text, axis_names=layer.axis_names)
        return cls(
            *(layer.path, *layer.size, text),
            name=layer.name,
            shape=tuple(layer.kernel.shape),
            stack=layer.axes.stack,
            rows=layer.axes.rows,
            is_table=layer.is_table,
            axis_names=layer.axis_names,
        )

    @property
    def read(self) -> ReadKernel:
        """How the model stores and reads the kernel."""
        shape = self.shape or (self.inputs, self.features)
        columns = tuple(a for a in range(len(shape)) if a not in (*self.stack, *self.rows))
        return ReadKernel(shape, KernelAxes(self.stack, self.rows, columns), self.is_table)

    @property
    def copies(self) -> int:
        """The number of kernels of this structure in the stack; 1 for a layer of its own."""
        return math.prod(self.shape[axis] for axis in self.stack)

    def __post_init__(self) -> None:
        try:
            kernel = read_layer_structure(self.structure, self.inputs, self.features)
        except ValueError as error:
            raise ValueError(f"layer {self.path}: {error}") from error
        object.__setattr__(self, "structure", str(kernel))

    @property
    def kernel(self) -> LayerStructure:
        """How the kernel is stored."""
        return read_layer_structure(self.structure, self.inputs, self.features)

    @property
    def method(self) -> str:
        """The kind of the structure, such as ``dense``, ``kfc`` or ``low_rank``."""
        return self.kernel.kind

    @property
    def rank(self) -> int:
        """The number of products that are summed, over all terms."""
        return self.kernel.num_products

    @property
    def parameters(self) -> int:
        """The number of entries of the kernel's arrays, of all copies; the bias is not counted."""
        return self.copies * self.kernel.num_parameters

    @property
    def dense_parameters(self) -> int:
        """The number of entries of the dense kernel."""
        return self.copies * self.kernel.dense_parameters

    @property
    def flops(self) -> int:
        """The least arithmetic of the kernel for one example, in FLOPs."""
        return self.copies * self.kernel.flops(1)

    @property
    def dense_flops(self) -> int:
        """The arithmetic of the dense kernel for one example, in FLOPs."""
        return self.copies * DenseStructure(self.inputs, self.features).flops(1)

    @property
    def error(self) -> float:
        """What the plan was made to keep small: the output's relative error, or the kernel's."""
        return self.relative_error if self.output_error is None else self.output_error

    @property
    def form_kernel_from_batch(self) -> int | None:
        """The smallest batch at which the least arithmetic forms the kernel first; None: at none.

        It counts FLOPs. `kfc_jax.explain` predicts times: from which batch on a dense layer is as
        fast, and what a machine will do.
        """
        kernel = self.kernel
        if not kernel.forms_kernel(_LARGEST_BATCH):
            return None
        low, high = 0, _LARGEST_BATCH
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if kernel.forms_kernel(middle) else (middle, high)
        return high


@dataclasses.dataclass(frozen=True)
class CompressionPlan:
    """What becomes of every dense layer of a model. ``print`` shows it as a table.

    Attributes:
      layers: the dense layers, those that are left included, in the order of the parameters.
      other_parameters: all other parameters of the model: biases, convolutions, ...
      budget: text form of the `Budget` that the plan was made for; empty without one.
      method: the methods that it could choose from: ``auto``, ``kfc`` or ``low_rank``.
    """

    layers: tuple[LayerPlan, ...]
    other_parameters: int = 0
    budget: str = ""
    method: str = "auto"

    @property
    def structures(self) -> dict[str, str]:
        """The structure of every layer by its path."""
        return {layer.path: layer.structure for layer in self.layers}

    @property
    def is_weighted(self) -> bool:
        """Whether it was made with statistics, so that the errors of outputs counted."""
        return any(layer.output_error is not None for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Parameters of the compressed model, in total."""
        return self.other_parameters + sum(layer.parameters for layer in self.layers)

    @property
    def dense_parameters(self) -> int:
        """Parameters of the dense model, in total."""
        return self.other_parameters + sum(layer.dense_parameters for layer in self.layers)

    @property
    def flops(self) -> int:
        """FLOPs of the layers of the plan for one example, each applied once."""
        return sum(layer.flops for layer in self.layers)

    @property
    def dense_flops(self) -> int:
        """FLOPs of the same layers for one example, were they dense."""
        return sum(layer.dense_flops for layer in self.layers)

    @property
    def error(self) -> float:
        """The root of the sum of the layers' squared relative errors."""
        return math.sqrt(sum(layer.copies * layer.error**2 for layer in self.layers))

    def to_json(self) -> str:
        """Returns the plan as JSON, from which `from_json` makes an equal one."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> CompressionPlan:
        """Reads what `to_json` wrote.

        Raises:
          ValueError: if it is not such a text.
        """
        try:
            content = json.loads(text)
            layers = tuple(LayerPlan(**_with_tuples(layer)) for layer in content.pop("layers"))
            return cls(layers, **content)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"This is not the JSON of a compression plan: {error}.") from error

    def __str__(self) -> str:
        head = (
            *("layer", "kernel", "structure", "parameters", "dense", "FLOPs", "dense"),
            *("error of kernel", "of output", "form kernel from batch"),
        )
        rows = [
            (
                layer.path,
                f"{layer.inputs}x{layer.features}" + (f" x{n}" if (n := layer.copies) > 1 else ""),
                layer.structure,
                f"{layer.parameters:,}",
                f"{layer.dense_parameters:,}",
                f"{layer.flops:,}",
                f"{layer.dense_flops:,}",
                f"{layer.relative_error:.4f}",
                "" if layer.output_error is None else f"{layer.output_error:.4f}",
                "never" if (batch := layer.form_kernel_from_batch) is None else f"{batch:,}",
            )
            for layer in self.layers
        ]
        lines = text_table(head, rows, text_columns=3)
        share = self.parameters / self.dense_parameters if self.dense_parameters else 1.0
        lines.append(
            f"whole model: {self.parameters:,} parameters of {self.dense_parameters:,} "
            f"({share:.2%}), {self.other_parameters:,} of them outside these kernels; their FLOPs "
            f"per example {self.flops:,} of {self.dense_flops:,}; total error {self.error:.4f}"
            + (f"; budget {self.budget}" if self.budget else "")
        )
        for layer in self.layers:
            if layer.is_too_small:
                lines.append(f"{layer.path}: too small, no structure makes it smaller and faster")
            elif layer.energies is not None:
                at = f" (at {layer.energies.parameters:,} parameters)"
                lines.append(
                    f"{layer.path}: {layer.energies}{at if layer.method == 'dense' else ''}"
                )
        return "\n".join(lines)


def _with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns a layer's fields as JSON has them, with tuples for its lists."""

    def as_tuple(value: Any) -> Any:
        return tuple(map(as_tuple, value)) if isinstance(value, list) else value

    found = {name: as_tuple(value) for name, value in fields.items()}
    if (energies := found.get("energies")) is not None:
        found["energies"] = KernelEnergies(**energies)
    return found


Structures = CompressionPlan | Mapping[str, str | LayerStructure]


def structures_of(plan: Structures) -> dict[str, str]:
    """Returns the structures by path of a plan, or of a mapping as texts."""
    if isinstance(plan, CompressionPlan):
        return plan.structures
    return {path: " ".join(str(structure).split()) for path, structure in plan.items()}


def plans_of(plan: Structures, layers: ModelLayers) -> dict[str, LayerPlan]:
    """Returns what becomes of every layer that is named, by its path.

    Raises:
      ValueError: if a layer is not there, or a structure or the plan does not fit it.
    """
    check_paths(structures_of(plan), layers)
    if not isinstance(plan, CompressionPlan):
        return {path: LayerPlan.of(layers[path], text) for path, text in plan.items()}
    for planned in plan.layers:
        shape = tuple(layers[planned.path].kernel.shape)
        if planned.read.shape != shape:
            raise ValueError(
                f"The plan has a kernel of shape {planned.read.shape} for layer {planned.path!r}, "
                f"and the parameters one of {shape}: take the plan of this model."
            )
    return {planned.path: planned for planned in plan.layers}


def planned_layers(params: Any, plan: Structures) -> ModelLayers:
    """Returns the layers in the parameters of a dense model, as a plan knows them.

    Raises:
      ValueError: if a layer of the plan is not in the parameters.
    """
    found = dense_layers(params)
    if found.is_traced or not isinstance(plan, CompressionPlan):
        return found
    layers = dict(found.layers)
    for its in plan.layers:
        if its.shape:
            layer = layer_at(found.params, its.path, its.name, its.read, its.axis_names)
            layers[its.path] = layer
    return dataclasses.replace(found, layers=layers)
