"""The structure of a kernel that is stored as it is."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, ClassVar

from kfc_jax.structures.layer_structure import LayerStructure, Shapes


@dataclasses.dataclass(frozen=True)
class DenseStructure(LayerStructure):
    """A kernel that is stored as it is, in the array ``kernel``.

    Attributes:
      inputs: the number of rows of the kernel.
      features: the number of columns of the kernel.
    """

    kind = "dense"
    example = "dense"
    parameter: ClassVar[str] = "kernel"
    parameter_pattern = re.compile(parameter)
    is_product = False

    inputs: int
    features: int

    @classmethod
    def read(cls, text: str, inputs: int, features: int) -> DenseStructure | None:
        """Returns the structure if ``text`` is ``dense``, and None if not."""
        return cls(inputs, features) if text == cls.kind else None

    def __str__(self) -> str:
        return self.kind

    def config_fields(self) -> dict[str, Any]:
        """Returns the fields ``kind``, ``structure`` and ``rank`` of a layer's config."""
        return {"kind": self.kind, "structure": "", "rank": 0}

    @property
    def num_parameters(self) -> int:
        """The number of entries of the kernel."""
        return self.dense_parameters

    def flops(self, batch: int) -> int:
        """Returns the FLOPs of ``x @ kernel`` for ``x: (batch, inputs)``."""
        return 2 * batch * self.dense_parameters

    @property
    def array_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of the kernel by its name in the parameters."""
        return {self.parameter: (self.inputs, self.features)}

    @classmethod
    def size_of(cls, text: str, shapes: Shapes) -> tuple[int, int]:
        """Returns the numbers of inputs and features of the layer."""
        del text
        inputs, features = shapes[cls.parameter]
        return inputs, features
