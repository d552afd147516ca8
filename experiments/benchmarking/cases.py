"""The cases of the benchmark: a layer's shape, a rank, a batch, and one of two passes."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kfc_jax import KroneckerStructure

SHAPES = (
    "784x1024",
    "1024x1024",
    "4096x4096",
    "4608x2048",
    "9216x4096",  # AlexNet's fc6
    "25088x4096",  # VGG's fc6
    "4096x3755",
)
RANKS = (1, 4, 16)
BATCHES = (1, 32, 256, 1024)
PASSES = ("forward", "training")
"""`training` is forward and backward: the product and its gradients by inputs and parameters."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One comparison: ``x @ kernel`` for a sum of products of two balanced factors.

    Attributes:
      inputs, features: the sizes of the layer.
      rank: products that are summed.
      batch: rows of ``x``.
      pass_: one of PASSES.
    """

    inputs: int
    features: int
    rank: int
    batch: int
    pass_: str

    @property
    def key(self) -> str:
        """A name for the case that no other has."""
        return f"{self.inputs}x{self.features}/r{self.rank}/b{self.batch}/{self.pass_}"

    @property
    def structure(self) -> KroneckerStructure:
        """The structure of the kernel."""
        return KroneckerStructure.balanced(self.inputs, self.features, self.rank)

    @property
    def dense_flops(self) -> int:
        """FLOPs with a dense kernel; forward and backward are three products of one size."""
        return 2 * self.batch * self.inputs * self.features * self.products

    @property
    def products(self) -> int:
        """How many times the forward pass's FLOPs the pass needs."""
        return 3 if self.pass_ == "training" else 1

    def arrays(self) -> dict[str, Float[Array, ...]]:
        """Returns ``x``, ``g`` (the gradient of the result), factors ``a`` and ``b``."""
        ((n1, m1), (n2, m2)) = self.structure.terms[0].shapes
        shapes = {
            "x": (self.batch, self.inputs),
            "g": (self.batch, self.features),
            "a": (self.rank, n1, m1),
            "b": (self.rank, n2, m2),
        }
        rng = np.random.default_rng(0)
        return {
            name: jnp.asarray(rng.standard_normal(shape, np.float32))
            for name, shape in shapes.items()
        }


def all_cases(
    shapes: Sequence[str] = SHAPES,
    ranks: Sequence[int] = RANKS,
    batches: Sequence[int] = BATCHES,
    passes: Sequence[str] = PASSES,
) -> list[Case]:
    """Returns every combination, those of a shape together.

    Raises:
      ValueError: if a shape cannot be read, a number is below 1, a pass unknown, or a rank above
        the most useful one of a shape.
    """
    sizes = [_read_shape(text) for text in shapes]
    for flag, values in (("--ranks", ranks), ("--batches", batches)):
        if wrong := [value for value in values if value < 1]:
            raise ValueError(f"{flag} holds {wrong[0]}; every number must be at least 1.")
    if unknown := [name for name in passes if name not in PASSES]:
        raise ValueError(f"--passes holds {unknown[0]!r}; take of {', '.join(PASSES)}.")
    found = [
        Case(*size, rank, batch, pass_)
        for size, pass_, batch, rank in itertools.product(sizes, passes, batches, ranks)
    ]
    for case in found:
        _ = case.structure  # raises if the rank is too high
    return found


def _read_shape(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)(?:x|->)([1-9]\d*)", text.strip())
    if not match:
        raise ValueError(
            f"--shapes holds {text!r}; write a layer as inputs x features, such as 784x1024."
        )
    return int(match[1]), int(match[2])
