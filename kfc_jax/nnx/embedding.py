"""The Flax NNX layer that stands where ``nnx.Embed`` stood."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.nnx.nn.dtypes import promote_dtype
from flax.nnx.nn.linear import default_embed_init
from flax.typing import Dtype
from jax.nn.initializers import Initializer
from jaxtyping import Array, Inexact, Integer, Num

from kfc_jax import layers
from kfc_jax.nnx.parameters import NO_METADATA, add_kernel, arrays_of
from kfc_jax.structures import KroneckerStructure, KroneckerTerm


@dataclasses.dataclass(eq=False, repr=False)
class KFCEmbed(nnx.Module):
    """An embedding whose table is a sum of Kronecker products of small factors.

    It takes the place of ``nnx.Embed`` with no other change, as the linen ``kfc_jax.KFCEmbed``
    takes that of ``nn.Embed``; see there for how it works.

    Example::

      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from kfc_jax.nnx import KFCEmbed
      >>> layer = KFCEmbed(50_000, 768, structure="8:200x32*250x24", rngs=nnx.Rngs(0))
      >>> vectors = layer(jnp.array([[1, 2], [49_999, -1]]))
      >>> vectors.shape, layer.attend(vectors).shape
      ((2, 2, 768), (2, 2, 50000))

    Attributes:
      num_embeddings: number of rows of the table.
      features: number of columns of the table, the features of each embedding.
      dtype: type of the embeddings (default: that of the parameters).
      param_dtype: type of the parameters.
      embedding_init: initialiser of a dense table; the factors' product takes over its variance.
      promote_dtype: function of every factor that brings it to its type, in ``attend`` of the query
        and a factor.
      rngs: the keys; the layer takes one, as ``nnx.Embed`` does.
      embedding_metadata: metadata of all factors; names of the table's axes in ``out_sharding`` go
        to the factors as those of ``nnx.with_partitioning`` do.
      structure: the table's structure, a single term, or its text form. Default: one balanced term,
        from ``rank`` and ``num_factors``.
      rank: rank of the balanced term. Default: 8, less for small tables.
      num_factors: number of factors of the balanced term.
      strategy: how ``attend`` multiplies, one of ``kfc_jax.product.STRATEGIES``. Default: what is
        predicted to be fastest.
    """

    num_embeddings: int
    features: int
    _: dataclasses.KW_ONLY
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    embedding_init: dataclasses.InitVar[Initializer] = default_embed_init
    promote_dtype: Callable[..., Any] = promote_dtype
    rngs: dataclasses.InitVar[nnx.Rngs]
    embedding_metadata: dataclasses.InitVar[Mapping[str, Any]] = NO_METADATA
    structure: KroneckerStructure | KroneckerTerm | str | None = None
    rank: int | None = None
    num_factors: int = 2
    strategy: str = "auto"

    def __post_init__(
        self,
        embedding_init: Initializer,
        rngs: nnx.Rngs,
        embedding_metadata: Mapping[str, Any],
    ) -> None:
        structure = self.linen_layer().resolve_structure()
        self.table_structure = structure  # how the table is stored
        add_kernel(
            self,
            structure,
            lambda init: self.linen_layer(embedding_init=init).array_initializers(structure),
            embedding_init,
            dtype=self.param_dtype,
            key=rngs.params(),
            metadata=embedding_metadata,
        )
        self.dtype = self.dtype or jnp.result_type(*arrays_of(self, structure).values())

    def linen_layer(self, **fields: Any) -> layers.KFCEmbed:
        """Returns the linen layer with this table; ``fields`` are further ones of it."""
        return layers.KFCEmbed(
            self.num_embeddings,
            self.features,
            structure=self.structure,
            rank=self.rank,
            num_factors=self.num_factors,
            strategy=self.strategy,
            parent=None,
            **fields,
        )

    def __call__(
        self, inputs: Integer[Array | np.ndarray, "*batch"], out_sharding: Any = None
    ) -> Inexact[Array, "*batch features"]:
        """Returns the rows of the table that ``inputs`` name.

        Negative numbers count from the end; the rows of those that are out of range are NaN. A
        table of one row gives that row whatever the inputs are.

        Args:
          inputs: the numbers of rows.
          out_sharding: how the rows shall lie over a mesh with explicit axes.

        Raises:
          ValueError: if the inputs are no integers.
        """
        promote: Any = self.promote_dtype
        promoted = {
            name: promote((array,), dtype=self.dtype, inexact=False)[0]
            for name, array in arrays_of(self, self.table_structure).items()
        }

        def rows(inputs: Any, arrays: Any) -> Any:
            return self.linen_layer().rows(inputs, self.table_structure, arrays)

        if out_sharding is not None:
            return jax.sharding.auto_axes(rows, out_sharding=out_sharding)(inputs, promoted)
        return rows(inputs, promoted)

    def attend(
        self, query: Num[Array | np.ndarray, "*batch features"], out_sharding: Any = None
    ) -> Inexact[Array, "*batch num_embeddings"]:
        """Returns the product of every query with every row, ``query @ table.T``.

        Args:
          query: the queries.
          out_sharding: how the products shall lie over a mesh with explicit axes.
        """
        promote: Any = self.promote_dtype
        promoted = {
            name: promote((query, array), dtype=self.dtype)
            for name, array in arrays_of(self, self.table_structure).items()
        }
        query, _ = next(iter(promoted.values()))
        arrays = {name: array for name, (_, array) in promoted.items()}
        scores = self.linen_layer().scores(query, self.table_structure, arrays)
        return scores if out_sharding is None else jax.sharding.reshard(scores, out_sharding)
