"""The layers of `kfc_jax.layers` for Flax NNX, which make their parameters when they are made.

- `KFCLinear`: in the place of `nnx.Linear`, the kernel a sum of Kronecker products.
- `LowRankLinear`: the kernel a product of two thin matrices.
- `BlockDiagonalLinear`: the kernel blocks on the diagonal.
- `KFCEmbed`: in the place of `nnx.Embed`, the table a sum of Kronecker products.
- `FactoredLinear`: the base of such layers, with the fields of `nnx.Linear`.

Parameters have the names and shapes of the linen layers', so that what knows factors by their
names, such as `kfc_jax.scale_factor_updates` in an `nnx.Optimizer`, works with both.
"""

from kfc_jax.nnx.embedding import KFCEmbed
from kfc_jax.nnx.linear import BlockDiagonalLinear, FactoredLinear, KFCLinear, LowRankLinear

__all__ = [
    "BlockDiagonalLinear",
    "FactoredLinear",
    "KFCEmbed",
    "KFCLinear",
    "LowRankLinear",
]
