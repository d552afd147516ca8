"""What the models learn: digits, and text that ships with Python. Nothing is downloaded."""

from __future__ import annotations

import dataclasses
import hashlib
import pydoc_data.topics
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from experiments.data import load, random_shift, split_validation

_CHARACTERS = 128  # of ASCII
_BLOCK = 1024  # characters that stay together in one part
_TENTHS = {"test": 0, "validation": 5}  # of the blocks; the others are for training

Part = tuple[np.ndarray, np.ndarray]
"""Inputs, and what is to be said of them, one row an example."""


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """Examples in three parts.

    Attributes:
      name: `digits` or `text`.
      outputs: the number of classes.
      train: what is learnt from; of a text, blocks of characters, from which windows are cut.
      validation: chooses learning rates.
      test: read before and after a fine-tuning, and chooses nothing.
      draw: returns a batch of a size, drawn at random from the training part; inside a jitted step.
      fingerprint: of all examples.
    """

    name: str
    outputs: int
    train: Part
    validation: Part
    test: Part
    draw: Callable[[Key[Array, ""], tuple[Array, Array], int], tuple[Array, Array]]
    fingerprint: str

    @property
    def is_text(self) -> bool:
        """Whether losses are compared, rather than the shares of wrong classes."""
        return self.name == "text"

    def samples(self, number: int, batch: int) -> Iterator[np.ndarray]:
        """Yields inputs from all over the training part, which is in order, in batches."""
        inputs = self.train[0]
        if self.is_text:
            inputs = inputs[:, : inputs.shape[1] // self.context * self.context]
            inputs = inputs.reshape(-1, self.context)
        chosen = np.linspace(0, len(inputs) - 1, min(number, len(inputs))).round().astype(int)
        for start in range(0, len(chosen), batch):
            yield as_inputs(inputs[chosen[start : start + batch]])

    @property
    def context(self) -> int:
        """Characters of a window of the text."""
        return self.test[0].shape[-1]


def load_task(name: str, *, context: int, max_shift: int) -> Task:
    """Returns the examples of a task.

    Args:
      name: `digits`: the 5,000 embedded digits of `mnist_5k`, 500 of the 4,000 for training kept
        for validation; or `text`: the documents inside Python's `pydoc`, of which a tenth of the
        blocks of 1,024 characters are for testing and a tenth for validation.
      context: characters of a window of the text.
      max_shift: pixels by which training images are moved at random.
    """
    return _text(context) if name == "text" else _digits(max_shift)


def as_inputs(examples: np.ndarray | Array) -> np.ndarray | Array:
    """Returns images in 0 ... 1, or characters as they are."""
    return examples / np.float32(255) if examples.dtype == np.uint8 else examples


def _digits(max_shift: int) -> Task:
    digits = load("mnist_5k")
    train, validation = split_validation(digits.train, 500, seed=0)

    def draw(key: Key[Array, ""], train: tuple[Array, Array], batch: int) -> tuple[Array, Array]:
        which, where = jax.random.split(key)
        chosen = jax.random.choice(which, len(train[0]), (batch,))
        return as_inputs(random_shift(where, train[0][chosen], max_shift)), train[1][chosen]

    parts = [(part.images, part.labels) for part in (train, validation, digits.test)]
    return Task("digits", digits.num_classes, *parts, draw, _fingerprint(parts))


def _text(context: int) -> Task:
    topics = pydoc_data.topics.topics
    text = "\n".join(topics[name] for name in sorted(topics)).encode("ascii", "replace")
    count = (len(text) - 1) // _BLOCK
    codes = np.frombuffer(text, np.uint8).astype(np.int32)
    starts = np.arange(count)[:, None] * _BLOCK
    blocks = codes[starts + np.arange(_BLOCK + 1)]  # the last one is what follows
    tenth = np.arange(count) % 10

    def windows(part: str) -> Part:
        chosen = blocks[tenth == _TENTHS[part]]
        whole = _BLOCK // context * context
        each = (chosen[:, :whole], chosen[:, 1 : whole + 1])
        return each[0].reshape(-1, context), each[1].reshape(-1, context)

    def draw(key: Key[Array, ""], train: tuple[Array, Array], batch: int) -> tuple[Array, Array]:
        which, where = jax.random.split(key)
        block = jax.random.choice(which, len(train[0]), (batch, 1))
        start = jax.random.randint(where, (batch, 1), 0, _BLOCK - context + 1)
        chosen = block, start + jnp.arange(context)
        return train[0][chosen], train[1][chosen]

    learnt = blocks[~np.isin(tenth, list(_TENTHS.values()))]
    parts = [(learnt[:, :-1], learnt[:, 1:]), windows("validation"), windows("test")]
    return Task("text", _CHARACTERS, *parts, draw, _fingerprint(parts))


def _fingerprint(parts: list[Part]) -> str:
    digest = hashlib.sha256()
    for array in (array for part in parts for array in part):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
