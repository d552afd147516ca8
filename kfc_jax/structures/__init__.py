"""What a kernel is made of: shapes, ranks and counts, without any arrays and without JAX.

- `LayerStructure`: how the kernel of a dense layer may be stored, the base of every kind.
- `DenseStructure`: the kernel as it is.
- `BlockDiagonalStructure`: the kernel as blocks on its diagonal.
- `LowRankStructure`: the kernel as a product of two thin matrices.
- `KroneckerStructure`: the kernel as a sum of terms, with its text form.
- `KroneckerTerm`: a shape with its rank.
- `Shape`: the type of the shapes of a term's factors.
- `read_layer_structure`: the structure that a text means, of whatever kind.
- `layer_kinds`: the classes of all kinds by their names.
- `kind_of_parameter`: the kind that stores an array of some name.
- `TRAINABLE_MATRIX_RANK`: the fraction of the matrix rank that a kernel needs in order to train.
"""

from kfc_jax.structures.block_diagonal import BlockDiagonalStructure
from kfc_jax.structures.dense import DenseStructure
from kfc_jax.structures.kronecker import KroneckerStructure
from kfc_jax.structures.kronecker_term import KroneckerTerm, Shape
from kfc_jax.structures.layer_structure import (
    TRAINABLE_MATRIX_RANK,
    LayerStructure,
    kind_of_parameter,
    layer_kinds,
)
from kfc_jax.structures.low_rank import LowRankStructure
from kfc_jax.structures.read_text import read_layer_structure

__all__ = [
    "TRAINABLE_MATRIX_RANK",
    "BlockDiagonalStructure",
    "DenseStructure",
    "KroneckerStructure",
    "KroneckerTerm",
    "LayerStructure",
    "LowRankStructure",
    "Shape",
    "kind_of_parameter",
    "layer_kinds",
    "read_layer_structure",
]
