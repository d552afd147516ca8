"""The plan of a compressed model: what becomes of every dense layer. Pure data, no arrays."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from kfc_jax.structures import KroneckerStructure, KroneckerTerm
from kfc_jax.text_table import text_table

DENSE, KFC, LOW_RANK = "dense", "kfc", "low_rank"

_LARGEST_BATCH = 2**30


@dataclasses.dataclass(frozen=True)
class LayerPlan:
    """What becomes of one dense layer.

    Attributes:
      path: where the layer is in the tree of parameters, ``block/mlp/Dense_0``.
      inputs: rows of its kernel.
      features: columns of its kernel.
      structure: ``dense`` (it is left), ``rank 3`` (``LowRankDense``), or the text form of a
        ``KroneckerStructure`` (``KFCDense``).
      relative_error: ``||kernel - approx|| / ||kernel||``.
      output_error: the same of the layer's output over the inputs that the plan was made with; None
        without.

    Raises:
      ValueError: if the structure cannot be read or does not fit the kernel.
    """

    path: str
    inputs: int
    features: int
    structure: str
    relative_error: float = 0.0
    output_error: float | None = None

    def __post_init__(self) -> None:
        try:
            method, kernel = read_structure(self.structure, self.inputs, self.features)
        except ValueError as error:
            raise ValueError(f"layer {self.path}: {error}") from error
        text = str(kernel) if method == KFC else " ".join(self.structure.split())
        object.__setattr__(self, "structure", text)

    @property
    def method(self) -> str:
        """``dense``, ``kfc`` or ``low_rank``."""
        return read_structure(self.structure, self.inputs, self.features)[0]

    @property
    def kernel(self) -> KroneckerStructure:
        """The kernel's structure; ``dense`` and low rank are Kronecker sums, too."""
        return read_structure(self.structure, self.inputs, self.features)[1]

    @property
    def rank(self) -> int:
        """Products that are summed, over all terms."""
        return sum(term.rank for term in self.kernel.terms)

    @property
    def parameters(self) -> int:
        """Entries of the kernel or of its factors, bias not counted."""
        return self.kernel.num_parameters

    @property
    def dense_parameters(self) -> int:
        """Entries of the dense kernel."""
        return self.inputs * self.features

    @property
    def flops(self) -> int:
        """FLOPs of the kernel for one example."""
        return self.kernel.flops(1)

    @property
    def dense_flops(self) -> int:
        """FLOPs of the dense kernel for one example."""
        return 2 * self.dense_parameters

    @property
    def error(self) -> float:
        """What the plan was made to keep small: the output's relative error, or the kernel's."""
        return self.relative_error if self.output_error is None else self.output_error

    @property
    def form_kernel_from_batch(self) -> int | None:
        """The least batch at which forming the kernel first is cheaper; None: at none."""
        kernel = self.kernel
        if self.method == DENSE or not any(kernel.materialized_terms(_LARGEST_BATCH)):
            return None
        low, high = 0, _LARGEST_BATCH
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if any(kernel.materialized_terms(middle)) else (middle, high)
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
        """The same with dense layers."""
        return sum(layer.dense_flops for layer in self.layers)

    @property
    def error(self) -> float:
        """The root of the sum of the layers' squared relative errors."""
        return math.sqrt(sum(layer.error**2 for layer in self.layers))

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
            layers = tuple(LayerPlan(**layer) for layer in content.pop("layers"))
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
                f"{layer.inputs}x{layer.features}",
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
        return "\n".join(lines)


Structures = CompressionPlan | Mapping[str, str | KroneckerStructure]


def structures_of(plan: Structures) -> dict[str, str]:
    """Returns the structures by path of a plan, or of a mapping as texts."""
    if isinstance(plan, CompressionPlan):
        return plan.structures
    return {path: str(structure) for path, structure in plan.items()}


def read_structure(text: Any, inputs: int, features: int) -> tuple[str, KroneckerStructure]:
    """Returns the method and the structure that a text means for a kernel of this size.

    Raises:
      ValueError: if the text cannot be read or does not fit.
    """
    words = str(text).split()
    if words == [DENSE]:
        return DENSE, KroneckerStructure((KroneckerTerm(((inputs, features),)),))
    if len(words) == 2 and words[0] == "rank" and re.fullmatch(r"\d+", words[1]):
        rank, full = int(words[1]), min(inputs, features)
        if not 1 <= rank <= full:
            raise ValueError(
                f"Rank {rank} is out of range for a kernel of {inputs}x{features}: take a rank "
                f"from 1 to {full}."
            )
        return LOW_RANK, KroneckerStructure((KroneckerTerm(((inputs, 1), (1, features)), rank),))
    try:
        return KFC, KroneckerStructure.parse(str(text)).fit(inputs, features)
    except ValueError as error:
        raise ValueError(f"{error} Or write 'dense', or 'rank 3' for low rank.") from error
