"""The structure of a kernel that is stored as equal blocks on its diagonal."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

from kfc_jax.structures.layer_structure import LayerStructure, Shapes
from kfc_jax.structures.sizes import divisors


@dataclasses.dataclass(frozen=True)
class BlockDiagonalStructure(LayerStructure):
    """A kernel whose features are in groups, each of which reads a group of the inputs alone.

    It is stored as ``kernel_blocks (blocks, inputs / blocks, features / blocks)``, a dense kernel
    for every group. Groups of features are neighbours. So are those of inputs, with the text form
    ``blocks 4``; with ``blocks 4 interleaved`` group ``i`` has every fourth input, from the i-th
    on. Of inputs that are positions of channels (channels change fastest) the first kind of group
    has few positions or a part of one, the second few channels of all positions.

    Attributes:
      inputs: the number of rows of the kernel.
      features: the number of columns of the kernel.
      blocks: the number of blocks, which divides both.
      is_interleaved: how the inputs are in groups.

    Raises:
      ValueError: if the blocks would not be equal.
    """

    kind = "block_diagonal"
    example = "blocks 4"
    parameter_pattern = re.compile("kernel_blocks")
    is_product = False

    inputs: int
    features: int
    blocks: int
    is_interleaved: bool = False

    def __post_init__(self) -> None:
        possible = self.possible_blocks(self.inputs, self.features)
        if self.blocks not in possible:
            raise ValueError(
                f"'{self}' does not fit a kernel of {self.inputs}x{self.features}, whose sides are "
                f"to be divided into equal groups: take {' or '.join(map(str, possible))} blocks."
            )

    @staticmethod
    def possible_blocks(inputs: int, features: int) -> tuple[int, ...]:
        """Returns the numbers of blocks that a kernel can have, in ascending order."""
        return divisors(math.gcd(inputs, features))

    @classmethod
    def read(cls, text: str, inputs: int, features: int) -> BlockDiagonalStructure | None:
        """Returns the structure if ``text`` is of the form ``blocks 4``, and None if not.

        Raises:
          ValueError: if the blocks would not be equal.
        """
        match = re.fullmatch(r"blocks (\d+)( interleaved)?", text)
        return cls(inputs, features, int(match[1]), bool(match[2])) if match else None

    def __str__(self) -> str:
        return f"blocks {self.blocks}{' interleaved' if self.is_interleaved else ''}"

    @property
    def num_parameters(self) -> int:
        """The number of entries of all blocks."""
        return self.dense_parameters // self.blocks

    def flops(self, batch: int) -> int:
        """Returns the FLOPs of all blocks' products, for a batch of so many."""
        return 2 * batch * self.num_parameters

    @property
    def array_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of the blocks by their name in the parameters."""
        return {"kernel_blocks": (self.blocks, *self._block)}

    @classmethod
    def size_of(cls, text: str, shapes: Shapes) -> tuple[int, int]:
        """Returns the numbers of inputs and features of the layer."""
        del text
        blocks, rows, columns = shapes["kernel_blocks"]
        return blocks * rows, blocks * columns

    def groups_of(self, inputs: Any) -> Any:
        """Returns inputs ``(..., inputs)`` in their groups, ``(..., blocks, inputs / blocks)``."""
        size = self._block[0]
        if self.is_interleaved:
            return inputs.reshape(*inputs.shape[:-1], size, self.blocks).swapaxes(-1, -2)
        return inputs.reshape(*inputs.shape[:-1], self.blocks, size)

    def inputs_of(self, groups: Any) -> Any:
        """Returns the inputs that `groups_of` gives ``groups`` for."""
        if self.is_interleaved:
            groups = groups.swapaxes(-1, -2)
        return groups.reshape(*groups.shape[:-2], self.inputs)

    @property
    def _block(self) -> tuple[int, int]:
        return self.inputs // self.blocks, self.features // self.blocks
