"""The Flax layer whose kernel is block diagonal."""

from __future__ import annotations

from collections.abc import Mapping

from jax.nn.initializers import Initializer

from kfc_jax.layers.initializers import block_initializer
from kfc_jax.layers.linen import FactoredDense
from kfc_jax.structures import BlockDiagonalStructure, LayerStructure


class BlockDiagonalDense(FactoredDense):
    """A dense layer whose kernel has equal blocks on its diagonal, and zeros elsewhere.

    Example::

      >>> import jax, jax.numpy as jnp
      >>> from kfc_jax import BlockDiagonalDense
      >>> layer = BlockDiagonalDense(features=500, structure="blocks 100")
      >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 800)))
      >>> jax.tree.map(jnp.shape, variables)["params"]
      {'bias': (500,), 'kernel_blocks': (100, 8, 5)}

    Attributes:
      features: number of output features; this and the other fields of ``nn.Dense`` are as in
        ``KFCDense``, but that ``kernel_init`` is that of every block: its variance follows from the
        inputs that a feature reads.
      structure: the kernel's structure, or its text form, ``blocks 4`` or ``blocks 4 interleaved``.
        It has to be given.
    """

    structure: BlockDiagonalStructure | str = ""

    def resolve_structure(self, inputs: int) -> BlockDiagonalStructure:
        """Returns the structure for a kernel of ``(inputs, features)``.

        Raises:
          ValueError: if there is none, it is of another kind, or the blocks would not be equal.
        """
        text = " ".join(str(self.structure).split())
        structure = BlockDiagonalStructure.read(text, inputs, self.features)
        if structure is None:
            possible = BlockDiagonalStructure.possible_blocks(inputs, self.features)
            raise ValueError(
                f"BlockDiagonalDense got structure='{self.structure}'; give 'blocks "
                f"{possible[-1]}', or another number of {', '.join(map(str, possible))}."
            )
        return structure

    def array_initializers(self, structure: LayerStructure) -> Mapping[str, Initializer]:
        """Returns the initialiser of all blocks, by their name."""
        (name,) = structure.array_shapes
        return {name: block_initializer(self.kernel_init)}
