"""The Flax linen layer whose embedding table is a sum of Kronecker products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from flax.linen.linear import PromoteDtypeFn, default_embed_init
from flax.typing import Dtype
from jax.nn.initializers import Initializer
from jaxtyping import Array, Inexact, Integer, Num

from kfc_jax.layers.linen import KFCDense, make_arrays
from kfc_jax.product import kronecker_matmul, kronecker_rows
from kfc_jax.structures import KroneckerStructure, KroneckerTerm


class KFCEmbed(nn.Module):
    """An embedding whose table is a sum of Kronecker products of small factors.

    It takes the place of ``nn.Embed`` with no other change: every field of ``nn.Embed`` is there,
    with the same name, order, default and meaning. The table is the kernel of a dense layer that
    sees one-hot inputs; it is never formed. A lookup multiplies the rows of the factors that it
    needs, and ``attend`` multiplies by the transposed factors.

    Example::

      >>> import jax, jax.numpy as jnp
      >>> from kfc_jax import KFCEmbed
      >>> layer = KFCEmbed(num_embeddings=50_000, features=768, structure="8:200x32*250x24")
      >>> words = jnp.array([[1, 2], [49_999, -1]])
      >>> vectors, variables = layer.init_with_output(jax.random.key(0), words)
      >>> vectors.shape
      (2, 2, 768)
      >>> jax.tree.map(jnp.shape, variables)["params"]
      {'kernel_0_0': (8, 200, 32), 'kernel_0_1': (8, 250, 24)}

    Its parameters are the factors, under the names that they have in a ``KFCDense``.

    Attributes:
      num_embeddings: number of rows of the table.
      features: number of columns of the table, the features of each embedding.
      dtype: type of the embeddings (default: that of the parameters).
      param_dtype: type of the parameters.
      embedding_init: initialiser of a dense table; the factors' product takes over its variance
        (see ``kfc_jax.layers.initializers``).
      promote_dtype: function of every factor that brings it to its type, in ``attend`` of the query
        and a factor.
      structure: the table's structure, a single term, or its text form. Default: one balanced term,
        from ``rank`` and ``num_factors``.
      rank: rank of the balanced term. Default: 8, less for small tables.
      num_factors: number of factors of the balanced term.
      strategy: how ``attend`` multiplies, one of ``kfc_jax.product.STRATEGIES``. Default: what is
        predicted to be fastest.
    """

    num_embeddings: int
    features: int
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    embedding_init: Initializer = default_embed_init
    promote_dtype: PromoteDtypeFn = promote_dtype
    structure: KroneckerStructure | KroneckerTerm | str | None = None
    rank: int | None = None
    num_factors: int = 2
    strategy: str = "auto"

    def setup(self) -> None:
        """Makes the factors."""
        structure = self.resolve_structure()
        initializers = self.array_initializers(structure)
        self.arrays = make_arrays(self, structure, initializers, self.param_dtype)

    def __call__(
        self, inputs: Integer[Array | np.ndarray, "*batch"]
    ) -> Inexact[Array, "*batch features"]:
        """Returns the rows of the table that ``inputs`` name.

        Negative numbers count from the end; the rows of those that are out of range are NaN. A
        table of one row gives that row whatever the inputs are.

        Raises:
          ValueError: if the inputs are no integers.
        """
        promote: Any = self.promote_dtype
        promoted = {
            name: promote(array, dtype=self.dtype, inexact=False)[0]
            for name, array in self.arrays.items()
        }
        return self.rows(inputs, self.resolve_structure(), promoted)

    def attend(
        self, query: Num[Array | np.ndarray, "*batch features"]
    ) -> Inexact[Array, "*batch num_embeddings"]:
        """Returns the product of every query with every row, ``query @ table.T``."""
        promote: Any = self.promote_dtype
        promoted = {n: promote(query, a, dtype=self.dtype) for n, a in self.arrays.items()}
        query, _ = next(iter(promoted.values()))
        by_name = {name: array for name, (_, array) in promoted.items()}
        return self.scores(query, self.resolve_structure(), by_name)

    @nn.nowrap
    def resolve_structure(self) -> KroneckerStructure:
        """Returns the structure of the table.

        Raises:
          ValueError: if the structure does not fit, or is given together with a rank.
        """
        return self._as_dense().resolve_structure(self.num_embeddings)

    @nn.nowrap
    def array_initializers(self, structure: KroneckerStructure) -> Mapping[str, Initializer]:
        """Returns the initialisers of the factors, see ``kfc_jax.layers.initializers``."""
        return self._as_dense().array_initializers(structure)

    @nn.nowrap
    def rows(
        self,
        inputs: Integer[Array | np.ndarray, "*batch"],
        structure: KroneckerStructure,
        arrays: Mapping[str, Array],
    ) -> Inexact[Array, "*batch features"]:
        """Returns rows of the table that the arrays stand for."""
        inputs = jnp.asarray(inputs)
        if structure.inputs == 1 and jnp.issubdtype(inputs.dtype, jnp.integer):
            inputs = jnp.zeros_like(inputs)
        return kronecker_rows(inputs, structure.factors_of(arrays), structure=structure)

    @nn.nowrap
    def scores(
        self,
        query: Num[Array | np.ndarray, "*batch features"],
        structure: KroneckerStructure,
        arrays: Mapping[str, Array],
    ) -> Inexact[Array, "*batch num_embeddings"]:
        """Returns the product with the transposed table that the arrays stand for."""
        factors = [
            [jnp.swapaxes(factor, -1, -2) for factor in term]
            for term in structure.factors_of(arrays)
        ]
        return kronecker_matmul(
            query, factors, structure=structure.transposed, strategy=self.strategy
        )

    @nn.nowrap
    def _as_dense(self) -> KFCDense:
        """Returns the dense layer that sees one-hot inputs, whose kernel is the table."""
        return KFCDense(
            self.features,
            kernel_init=self.embedding_init,
            structure=self.structure,
            rank=self.rank,
            num_factors=self.num_factors,
            parent=None,
        )
