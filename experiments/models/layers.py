"""The fully connected layers of the models, as the config specifies them, and pooling."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from kfc_jax.layers import make_layer
from kfc_jax.structures import layer_kinds

NO_LAYER = "none"
"""The kind of a layer that is left out: what it would read goes on as it is."""


@dataclasses.dataclass(frozen=True)
class LayerSpec:
    """What one fully connected layer is made of. Fields that its kind does not use are ignored.

    Attributes:
      kind: how the kernel is stored: `dense`; `kfc`, a sum of Kronecker products; `low_rank`, a
        product of two matrices; `block_diagonal`; or another kind of
        `kfc_jax.structures.layer_kinds`. `none`: there is no such layer.
      structure: the text form of the structure. For `kfc` it may be empty: a balanced one of
        `rank`; `dense` and `low_rank` need none.
      rank: for `low_rank`, and for `kfc` without a structure. 0: the layer's own default.
      num_factors: for `kfc` without a structure.
      frozen: whether all of the layer, its bias too, stays as it is at the start of the training.

    Raises:
      ValueError: if the kind is unknown, or a layer that is left out is to be frozen.
    """

    kind: str = "dense"
    structure: str = ""
    rank: int = 0
    num_factors: int = 2
    frozen: bool = False

    def __post_init__(self) -> None:
        if self.kind not in (kinds := [*layer_kinds(), NO_LAYER]):
            raise ValueError(f"kind is {self.kind!r}; take one of {', '.join(kinds)}.")
        if self.frozen and self.kind == NO_LAYER:
            raise ValueError(f"frozen is True, but a layer of kind {NO_LAYER!r} has no parameters.")


def fully_connected(spec: LayerSpec, features: int, name: str) -> nn.Module:
    """Returns the fully connected layer that `spec` describes, called `name`."""
    if spec.kind == NO_LAYER:
        return NoLayer(name=name)
    return make_layer(
        spec.kind,
        features,
        structure=spec.structure or None,
        rank=spec.rank or None,
        num_factors=spec.num_factors,
        name=name,
    )


def frozen_layers(model: nn.Module) -> set[str]:
    """Returns the names of the model's layers whose specification freezes them."""
    specs = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    return {name for name, one in specs.items() if isinstance(one, LayerSpec) and one.frozen}


class NoLayer(nn.Module):
    """Stands where a layer was left out."""

    def __call__(self, inputs: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        """Returns the inputs."""
        return inputs


def max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 c"]:
    """Max-pools 2x2 windows. On a CPU this form's gradient is much faster than `nn.max_pool`'s."""
    x = jnp.maximum(x[:, :, 0::2], x[:, :, 1::2])
    return jnp.maximum(x[:, 0::2], x[:, 1::2])
