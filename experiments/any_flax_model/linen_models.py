"""A Mixer, a vision transformer and a decoder in linen, of Flax's own layers alone."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from experiments.any_flax_model.patches import patches
from experiments.any_flax_model.recipes import Sizes


class Perceptron(nn.Module):
    """Two layers over the last axis.

    Attributes:
      width: hidden units.
    """

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        """Runs it."""
        return nn.Dense(x.shape[-1])(nn.gelu(nn.Dense(self.width)(x)))


class MixerBlock(nn.Module):
    """Mixes over tokens, then over features.

    Attributes:
      sizes: those of the model.
    """

    sizes: Sizes

    @nn.compact
    def __call__(self, x: Float[Array, "batch tokens n"]) -> Float[Array, "batch tokens n"]:
        """Runs it."""
        over_tokens = Perceptron(self.sizes.token_width, name="over_tokens")
        x = x + over_tokens(nn.LayerNorm()(x).swapaxes(1, 2)).swapaxes(1, 2)
        return x + Perceptron(self.sizes.width, name="over_features")(nn.LayerNorm()(x))


class Block(nn.Module):
    """Attention, then a perceptron. With a carry alone, as `nn.scan` takes it.

    Attributes:
      sizes: those of the model.
      is_causal: whether a token sees only those before it.
    """

    sizes: Sizes
    is_causal: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch tokens n"], _: None = None
    ) -> tuple[Float[Array, "batch tokens n"], None]:
        """Runs it."""
        mask = nn.make_causal_mask(x[..., 0]) if self.is_causal else None
        attention = nn.MultiHeadDotProductAttention(self.sizes.heads, name="attention")
        x = x + attention(nn.LayerNorm()(x), mask=mask)
        return x + Perceptron(self.sizes.width, name="perceptron")(nn.LayerNorm()(x)), None


class Mixer(nn.Module):
    """An MLP-Mixer: classes of images.

    Attributes:
      sizes: how large it is.
      outputs: the number of classes.
    """

    sizes: Sizes
    outputs: int

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """Returns logits."""
        x = nn.Dense(self.sizes.features, name="patches")(patches(images, self.sizes.patch))
        for i in range(self.sizes.depth):
            x = MixerBlock(self.sizes, name=f"block_{i}")(x)
        return nn.Dense(self.outputs, name="classes")(nn.LayerNorm()(x).mean(1))


class ViT(nn.Module):
    """A vision transformer: classes of images.

    Attributes:
      sizes: how large it is.
      outputs: the number of classes.
    """

    sizes: Sizes
    outputs: int

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """Returns logits."""
        x = nn.Dense(self.sizes.features, name="patches")(patches(images, self.sizes.patch))
        x = x + self.param("positions", nn.initializers.normal(0.02), x.shape[1:])
        for i in range(self.sizes.depth):
            x, _ = Block(self.sizes, name=f"block_{i}")(x)
        return nn.Dense(self.outputs, name="classes")(nn.LayerNorm()(x).mean(1))


class Decoder(nn.Module):
    """A decoder with scanned blocks, whose table of characters is the classifier, too.

    Attributes:
      sizes: how large it is.
      outputs: the number of characters.
    """

    sizes: Sizes
    outputs: int

    @nn.compact
    def __call__(self, tokens: Int[Array, "batch length"]) -> Float[Array, "batch length outputs"]:
        """Returns the logits of the next characters."""
        table = nn.Embed(self.outputs, self.sizes.features, name="characters")
        positions = nn.Embed(self.sizes.context, self.sizes.features, name="positions")
        blocks = nn.scan(
            Block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=self.sizes.depth,
        )
        x = table(tokens) + positions(jnp.arange(tokens.shape[-1]))
        x, _ = blocks(self.sizes, is_causal=True, name="blocks")(x, None)
        return table.attend(nn.LayerNorm()(x))


ARCHITECTURES = {"mixer": Mixer, "vit": ViT, "decoder": Decoder}
"""The classes by their names."""
