"""Models made of Flax's own layers, each with inputs: what a user may come with."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


class Tied(nn.Module):
    """A table that is the classifier, too."""

    @nn.compact
    def __call__(self, tokens):
        table = nn.Embed(12, 8)
        return table.attend(nn.relu(nn.Dense(8)(table(tokens))))


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        hidden = nn.relu(nn.Dense(24)(nn.LayerNorm()(x)))
        return x + nn.Dense(16)(hidden), None


class Scanned(nn.Module):
    """A stack of blocks under `nn.scan` and `nn.remat`, and a head."""

    @nn.compact
    def __call__(self, x):
        blocks = nn.scan(
            nn.remat(Block), variable_axes={"params": 0}, split_rngs={"params": True}, length=3
        )
        return nn.Dense(4, name="head")(blocks(name="blocks")(x, None)[0])


class Mapped(nn.Module):
    """A stack of layers under `nn.vmap`, stored along the second axis, each with its own inputs."""

    @nn.compact
    def __call__(self, x):
        each = nn.vmap(
            nn.Dense,
            in_axes=1,
            out_axes=1,
            variable_axes={"params": 1},
            split_rngs={"params": True},
        )
        return each(6, name="each")(x)


class Branches(nn.Module):
    """Layers in a branch that is taken, in one that is not, and in a loop."""

    def setup(self):
        self.taken, self.idle, self.repeated = nn.Dense(16), nn.Dense(16), nn.Dense(16)

    def __call__(self, x):
        if self.is_initializing():
            return self.taken(x) + self.idle(x) + self.repeated(x)
        y = nn.cond(jnp.sum(x**2) > 0, lambda m, x: m.taken(x), lambda m, x: m.idle(x), self, x)
        y = nn.switch(1, [lambda m, x: m.idle(x), lambda m, x: x + 1], self, y)
        return nn.while_loop(
            lambda _, state: state[0] < 2,
            lambda m, state: (state[0] + 1, jnp.tanh(m.repeated(state[1]))),
            self,
            (0, y),
        )[1]


class Doubled(nn.Dense):
    """A subclass whose call adds something."""

    def __call__(self, inputs):
        return nn.gelu(2 * super().__call__(inputs - 1))


class NNXNet(nnx.Module):
    def __init__(self, rngs):
        self.attention = nnx.MultiHeadAttention(4, 16, decode=False, rngs=rngs)
        self.norm = nnx.LayerNorm(16, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(16, 16, rngs=rngs) for _ in range(2)])
        self.general = nnx.LinearGeneral(16, (2, 8), rngs=rngs)

    def __call__(self, x):
        x = self.norm(x + self.attention(x))
        for layer in self.layers:
            x = nnx.relu(layer(x))
        return self.general(x)


def _x(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


SEQUENCE = _x(2, 5, 16)
LINEN = {
    "dense": (nn.Dense(8), SEQUENCE),
    "dense_general": (nn.DenseGeneral((2, 8), axis=(-2, -1)), SEQUENCE),
    "einsum": (nn.Einsum((16, 2, 8), "bti,ioh->btoh"), SEQUENCE),
    "einsum_of_features_first": (nn.Einsum((8, 16), "bti,oi->bto", use_bias=False), SEQUENCE),
    "attention": (nn.MultiHeadDotProductAttention(4), SEQUENCE),
    "lstm": (nn.RNN(nn.LSTMCell(8)), SEQUENCE),
    "optimized_lstm": (nn.RNN(nn.OptimizedLSTMCell(8)), SEQUENCE),
    "gru": (nn.RNN(nn.GRUCell(8)), SEQUENCE),
    "tied_embedding": (Tied(), jnp.asarray([[3, 1, 11], [0, 5, 3]])),
    "scanned_blocks": (Scanned(), SEQUENCE),
    "mapped_layers": (Mapped(), SEQUENCE),
    "branches": (Branches(), SEQUENCE),
    "subclass": (nn.Sequential([Doubled(8), nn.Dense(6)]), SEQUENCE),
    "convolution": (nn.Sequential([nn.Conv(4, (3,)), nn.relu, nn.Dense(64)]), SEQUENCE),
    "half_precision": (nn.Sequential([nn.Dense(8, dtype=jnp.bfloat16), nn.Dense(6)]), SEQUENCE),
}


@functools.cache
def variables_of(name):
    """Returns the model called ``name``, its variables and its inputs."""
    model, x = LINEN[name]
    return model, jax.jit(model.init)(jax.random.key(0), x), x
