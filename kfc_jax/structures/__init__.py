"""What a kernel is made of: shapes, ranks and counts, without any arrays and without JAX.

- `KroneckerStructure`: the structure of a kernel, a sum of terms, with its text form.
- `KroneckerTerm`: a shape with its rank.
- `Shape`: the shapes of a term's factors.
- `DEFAULT_RANK`: the rank of a balanced structure that names none.
- `good_size`: the next size that splits well into factors.
"""

from kfc_jax.structures.kronecker import DEFAULT_RANK, KroneckerStructure, KroneckerTerm, Shape
from kfc_jax.structures.sizes import good_size

__all__ = ["DEFAULT_RANK", "KroneckerStructure", "KroneckerTerm", "Shape", "good_size"]
