"""The same models in NNX, of Flax's own layers alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx import LayerNorm, Linear, Rngs
from jaxtyping import Array, Float, Int

from experiments.any_flax_model.patches import patches
from experiments.any_flax_model.recipes import Sizes

_SIDE = 28  # pixels of the images


class Perceptron(nnx.Module):
    """Two layers over the last axis."""

    def __init__(self, features: int, width: int, *, rngs: Rngs):
        self.first = Linear(features, width, rngs=rngs)
        self.second = Linear(width, features, rngs=rngs)

    def __call__(self, x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        """Runs it."""
        return self.second(nnx.gelu(self.first(x)))


class MixerBlock(nnx.Module):
    """Mixes over tokens, then over features."""

    def __init__(self, sizes: Sizes, *, rngs: Rngs):
        self.norms = nnx.List([LayerNorm(sizes.features, rngs=rngs) for _ in range(2)])
        self.over_tokens = Perceptron(_tokens(sizes), sizes.token_width, rngs=rngs)
        self.over_features = Perceptron(sizes.features, sizes.width, rngs=rngs)

    def __call__(self, x: Float[Array, "batch tokens n"]) -> Float[Array, "batch tokens n"]:
        """Runs it."""
        x = x + self.over_tokens(self.norms[0](x).swapaxes(1, 2)).swapaxes(1, 2)
        return x + self.over_features(self.norms[1](x))


class Block(nnx.Module):
    """Attention, then a perceptron."""

    def __init__(self, sizes: Sizes, *, is_causal: bool = False, rngs: Rngs):
        self.norms = nnx.List([LayerNorm(sizes.features, rngs=rngs) for _ in range(2)])
        self.attention = nnx.MultiHeadAttention(
            sizes.heads, sizes.features, decode=False, keep_rngs=False, rngs=rngs
        )
        self.perceptron = Perceptron(sizes.features, sizes.width, rngs=rngs)
        self.is_causal = is_causal

    def __call__(self, x: Float[Array, "batch tokens n"]) -> Float[Array, "batch tokens n"]:
        """Runs it."""
        mask = nnx.make_causal_mask(x[..., 0]) if self.is_causal else None
        x = x + self.attention(self.norms[0](x), mask=mask)
        return x + self.perceptron(self.norms[1](x))


class Mixer(nnx.Module):
    """An MLP-Mixer: classes of images."""

    def __init__(self, sizes: Sizes, outputs: int, *, rngs: Rngs):
        self.size = sizes.patch
        self.patches = Linear(sizes.patch**2, sizes.features, rngs=rngs)
        self.blocks = nnx.List([MixerBlock(sizes, rngs=rngs) for _ in range(sizes.depth)])
        self.norm = LayerNorm(sizes.features, rngs=rngs)
        self.classes = Linear(sizes.features, outputs, rngs=rngs)

    def __call__(
        self, images: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """Returns logits."""
        x = self.patches(patches(images, self.size))
        for block in self.blocks:
            x = block(x)
        return self.classes(self.norm(x).mean(1))


class ViT(nnx.Module):
    """A vision transformer: classes of images."""

    def __init__(self, sizes: Sizes, outputs: int, *, rngs: Rngs):
        self.size = sizes.patch
        self.patches = Linear(sizes.patch**2, sizes.features, rngs=rngs)
        places = 0.02 * jax.random.normal(rngs.params(), (_tokens(sizes), sizes.features))
        self.positions = nnx.Param(places)
        self.blocks = nnx.List([Block(sizes, rngs=rngs) for _ in range(sizes.depth)])
        self.norm = LayerNorm(sizes.features, rngs=rngs)
        self.classes = Linear(sizes.features, outputs, rngs=rngs)

    def __call__(
        self, images: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """Returns logits."""
        x = self.patches(patches(images, self.size)) + self.positions[...]
        for block in self.blocks:
            x = block(x)
        return self.classes(self.norm(x).mean(1))


class Decoder(nnx.Module):
    """A decoder with scanned blocks, whose table of characters is the classifier, too."""

    def __init__(self, sizes: Sizes, outputs: int, *, rngs: Rngs):
        @nnx.split_rngs(splits=sizes.depth)
        @nnx.vmap(in_axes=0, out_axes=0)
        def stack(rngs: Rngs) -> Block:
            return Block(sizes, is_causal=True, rngs=rngs)

        self.characters = nnx.Embed(outputs, sizes.features, rngs=rngs)
        self.positions = nnx.Embed(sizes.context, sizes.features, rngs=rngs)
        self.blocks = stack(rngs)
        self.norm = LayerNorm(sizes.features, rngs=rngs)

    def __call__(self, tokens: Int[Array, "batch length"]) -> Float[Array, "batch length outputs"]:
        """Returns the logits of the next characters."""

        @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
        def run(block: Block, x: Float[Array, "batch length n"]) -> Float[Array, "batch length n"]:
            return block(x)

        x = self.characters(tokens) + self.positions(jnp.arange(tokens.shape[-1]))
        return self.characters.attend(self.norm(run(self.blocks, x)))


ARCHITECTURES = {"mixer": Mixer, "vit": ViT, "decoder": Decoder}
"""The classes by their names."""


def _tokens(sizes: Sizes) -> int:
    return (_SIDE // sizes.patch) ** 2
