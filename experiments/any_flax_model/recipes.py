"""The models of the comparison: their sizes, and how the dense ones are trained."""

from __future__ import annotations

import dataclasses
from typing import Any

_LINEN, _NNX = "linen", "nnx"


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large a model is.

    Attributes:
      features: of a token.
      depth: the number of blocks.
      width: hidden units of a block's perceptron over the features.
      heads: of the attention.
      token_width: hidden units of the Mixer's perceptron over the tokens.
      patch: pixels of a side of an image's patch.
      context: characters that a decoder sees.
    """

    features: int
    depth: int
    width: int
    heads: int = 4
    token_width: int = 64
    patch: int = 7
    context: int = 64


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a dense model is trained.

    Attributes:
      task: `digits` or `text`, of `data.load_task`.
      sizes: the model's.
      steps: of the dense model's training; each model made of it gets a tenth of them.
      batch: examples of a step.
      learning_rate: the highest one of the schedule.
      rates: learning rates to choose from for the tenth, of which the best for dense models is low
        and for compressed ones high.
      factor_gain: of factors' steps, 1 where a network trains at less than its best learning rate.
      weight_decay: of all parameters, factors by their product.
      max_shift: pixels by which training images are moved at random.
      samples: examples that the layers are shown before planning.
    """

    task: str
    sizes: Sizes
    steps: int
    batch: int
    learning_rate: float
    rates: tuple[float, ...] = (5e-4, 2e-3, 6e-3)
    factor_gain: float = 1.0
    weight_decay: float = 0.05
    max_shift: int = 2
    samples: int = 1024

    @property
    def further_steps(self) -> int:
        """A tenth of the training."""
        return max(1, self.steps // 10)

    def described(self) -> dict[str, Any]:
        """Returns its fields, as JSON has them."""
        return {**dataclasses.asdict(self), "rates": list(self.rates)}


_RECIPES = {
    "mixer": Recipe("digits", Sizes(features=64, depth=4, width=128), 1200, 64, 2e-3),
    "vit": Recipe("digits", Sizes(features=64, depth=4, width=128), 1500, 64, 2e-3),
    "decoder": Recipe("text", Sizes(features=64, depth=4, width=256), 1000, 32, 3e-3, samples=256),
}
MODELS = tuple(f"{name}_{api}" for name in _RECIPES for api in (_LINEN, _NNX))
"""The names of the models."""


def recipe_of(model: str, *, quick: bool = False) -> Recipe:
    """Returns how a model is trained; quick: a tiny one for a few steps.

    Raises:
      ValueError: if there is no such model.
    """
    if model not in MODELS:
        raise ValueError(f"There is no model {model!r}; take of {', '.join(MODELS)}.")
    recipe = _RECIPES[architecture(model)[0]]
    if not quick:
        return recipe
    sizes = dataclasses.replace(recipe.sizes, features=16, depth=2, width=32, token_width=16)
    return dataclasses.replace(recipe, sizes=sizes, steps=40, batch=16, samples=64)


def architecture(model: str) -> tuple[str, str]:
    """Returns the name of a model's architecture, and that of its API."""
    name, _, api = model.rpartition("_")
    return name, api
