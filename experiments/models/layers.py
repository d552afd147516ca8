"""The fully connected layers of the models, as the config specifies them, and pooling."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from kfc_jax import KFCDense, LowRankDense

KINDS = ("dense", "kfc", "low_rank")


@dataclasses.dataclass(frozen=True)
class LayerSpec:
    """What one fully connected layer is made of. Fields that its kind does not use are ignored.

    Attributes:
      kind: `dense`; `kfc`, a sum of Kronecker products; or `low_rank`, a product of two matrices.
      structure: for `kfc`, the text form of a `KroneckerStructure`; empty: a balanced one of
        `rank`.
      rank: for `low_rank`, and for `kfc` without a structure. 0: the layer's own default.
      num_factors: for `kfc` without a structure.

    Raises:
      ValueError: if the kind is unknown.
    """

    kind: str = "dense"
    structure: str = ""
    rank: int = 0
    num_factors: int = 2

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}; take one of {', '.join(KINDS)}.")


def fully_connected(spec: LayerSpec, features: int, name: str) -> nn.Module:
    """Returns the fully connected layer that `spec` describes, called `name`."""
    rank = spec.rank or None
    match spec.kind:
        case "kfc":
            structure = spec.structure or None
            return KFCDense(
                features, structure=structure, rank=rank, num_factors=spec.num_factors, name=name
            )
        case "low_rank":
            return LowRankDense(features, rank=rank, name=name)
        case _:
            return nn.Dense(features, name=name)


def max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 c"]:
    """Max-pools 2x2 windows. On a CPU this form's gradient is much faster than `nn.max_pool`'s."""
    x = jnp.maximum(x[:, :, 0::2], x[:, :, 1::2])
    return jnp.maximum(x[:, 0::2], x[:, 1::2])
