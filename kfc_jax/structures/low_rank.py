"""The structure of a kernel that is stored as a product of two thin matrices."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any

from kfc_jax.structures.layer_structure import DEFAULT_RANK, LayerStructure, Shapes


@dataclasses.dataclass(frozen=True)
class LowRankStructure(LayerStructure):
    """A kernel ``u @ v``, stored as ``kernel_u (inputs, rank)`` and ``kernel_v (rank, features)``.

    Seen as factors, it is the sum over ranks of a column of ``u`` (x) a row of ``v``. Its text form
    is ``rank 3``.

    Attributes:
      inputs: the number of rows of the kernel.
      features: the number of columns of the kernel.
      rank: the number of columns of ``u``.

    Raises:
      ValueError: if the rank is not from 1 to the kernel's smaller side.
    """

    kind = "low_rank"
    example = "rank 3"
    parameter_pattern = re.compile(r"kernel_([uv])")

    inputs: int
    features: int
    rank: int

    def __post_init__(self) -> None:
        full = min(self.inputs, self.features)
        if not 1 <= self.rank <= full:
            raise ValueError(
                f"Rank {self.rank} is out of range for a kernel of {self.inputs}x{self.features}, "
                f"whose full rank is {full}: take a rank from 1 to {full}."
            )

    @classmethod
    def of_default_rank(cls, inputs: int, features: int) -> LowRankStructure:
        """Returns rank 8, or a lower one with which the layer is at most half as large as dense."""
        half = inputs * features // (2 * (inputs + features))
        return cls(inputs, features, max(1, min(DEFAULT_RANK, half)))

    @classmethod
    def read(cls, text: str, inputs: int, features: int) -> LowRankStructure | None:
        """Returns the structure if ``text`` is of the form ``rank 3``, and None if not.

        Raises:
          ValueError: if the rank is out of range.
        """
        match = re.fullmatch(r"rank (\d+)", text)
        return cls(inputs, features, int(match[1])) if match else None

    def __str__(self) -> str:
        return f"rank {self.rank}"

    def config_fields(self) -> dict[str, Any]:
        """Returns the fields ``kind``, ``structure`` and ``rank`` of a layer's config."""
        return {"kind": self.kind, "structure": "", "rank": self.rank}

    @property
    def num_parameters(self) -> int:
        """The number of entries of both matrices."""
        return self.rank * (self.inputs + self.features)

    def flops(self, batch: int) -> int:
        """Returns the least arithmetic of ``x @ u @ v`` for ``x: (batch, inputs)``, in FLOPs."""
        return min(2 * batch * self.num_parameters, self._flops_of_formed_kernel(batch))

    def forms_kernel(self, batch: int) -> bool:
        """Says whether the least arithmetic at this batch forms ``u @ v`` first."""
        return self._flops_of_formed_kernel(batch) < 2 * batch * self.num_parameters

    def _flops_of_formed_kernel(self, batch: int) -> int:
        return 2 * (self.rank + batch) * self.dense_parameters

    @property
    def num_products(self) -> int:
        """The number of products of a column and a row that are summed."""
        return self.rank

    @property
    def matrix_rank(self) -> int:
        """The largest matrix rank that the kernel can have."""
        return self.rank

    @classmethod
    def of_rank_one(cls, inputs: int, features: int) -> Sequence[LowRankStructure]:
        """Lists the one structure of rank 1."""
        return (cls(inputs, features, 1),)

    @property
    def max_rank(self) -> int:
        """The full rank of the kernel."""
        return min(self.inputs, self.features)

    def with_rank(self, rank: int) -> LowRankStructure:
        """Returns the structure of another rank for the same kernel.

        Raises:
          ValueError: if the rank is out of range.
        """
        return dataclasses.replace(self, rank=rank)

    @property
    def array_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of both matrices by their names in the parameters."""
        return {"kernel_u": (self.inputs, self.rank), "kernel_v": (self.rank, self.features)}

    @classmethod
    def size_of(cls, text: str, shapes: Shapes) -> tuple[int, int]:
        """Returns the numbers of inputs and features of the layer."""
        del text
        return shapes["kernel_u"][0], shapes["kernel_v"][1]

    @classmethod
    def terms_of(cls, names: Iterable[str]) -> list[list[str]]:
        """Returns one term of both matrices.

        Raises:
          ValueError: if one of them is missing.
        """
        term = sorted(names)
        if len(term) != 2:
            raise ValueError(f"{' and '.join(term)} is only one of the two matrices.")
        return [term]

    @classmethod
    def as_factor(cls, name: str, array: Any) -> Any:
        """Views ``u`` as columns ``(rank, inputs, 1)`` and ``v`` as rows ``(rank, 1, features)``.

        Something that is no matrix is returned as it is.
        """
        if len(array.shape) < 2:
            return array
        is_u = cls._match(name)[1] == "u"
        return array.swapaxes(-1, -2)[..., None] if is_u else array[..., None, :]

    @classmethod
    def from_factor(cls, name: str, factor: Any) -> Any:
        """Returns ``u`` of columns ``(rank, inputs, 1)``, ``v`` of rows ``(rank, 1, features)``."""
        is_u = cls._match(name)[1] == "u"
        return factor[..., 0].swapaxes(-1, -2) if is_u else factor[..., 0, :]
