"""Rules for what becomes of layers, by patterns of their paths."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from kfc_jax.compress.layer_statistics import check_paths, list_layers
from kfc_jax.compress.model_layers import ModelLayers
from kfc_jax.structures import DenseStructure, LayerStructure, LowRankStructure

KEEP = DenseStructure.kind
"""The rule for layers that stay as they are."""


@dataclasses.dataclass(frozen=True)
class Rank:
    """The rule for layers that become low rank, at a fraction of their parameters.

    Attributes:
      fraction: of the dense kernel's parameters, above 0 and below 1; the rank is rounded down, and
        at least 1.

    Raises:
      ValueError: if the fraction is out of range.
    """

    fraction: float

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise ValueError(
                f"Rank({self.fraction}): give the fraction of the parameters that is left, above 0 "
                "and below 1; a rank in numbers is the text 'rank 3'."
            )

    def of(self, inputs: int, features: int) -> LowRankStructure:
        """Returns the structure of a kernel of this size."""
        rank = int(self.fraction * inputs * features / (inputs + features))
        return LowRankStructure(inputs, features, max(1, rank))


Rules = Mapping[str, str | LayerStructure | Rank]
"""What becomes of layers by the patterns of their paths; the first that fits counts.

``**/`` stands for any folders or none, ``/**`` for all that is in one, and ``*`` for anything.
"""


def resolve_rules(rules: Rules, layers: ModelLayers) -> dict[str, str]:
    """Returns the structures of the layers that a rule fits, by path.

    Raises:
      ValueError: if a path is not among the layers, or a pattern fits none.
    """
    found: dict[str, str] = {}
    for pattern, rule in rules.items():
        if not {"*", "?"} & set(pattern):
            check_paths([pattern], layers)
        fits = [path for path in layers if re.fullmatch(_expression(pattern), path)]
        if not fits:
            raise ValueError(f"No dense layer matches {pattern!r}; {list_layers(layers)}")
        for path in fits:
            its = rule.of(*layers[path].size) if isinstance(rule, Rank) else rule
            found.setdefault(path, str(its))
    return found


def _expression(pattern: str) -> str:
    parts = re.split(r"(^\*\*/|/\*\*/|/\*\*$|\*+|\?)", pattern)
    said = {"/**/": "/(?:.*/)?", "/**": "(?:/.*)?", "?": "."}
    texts = []
    for part in parts:
        if part == "**/":
            texts.append("(?:.*/)?")
        elif part and not part.strip("*"):
            texts.append(".*")
        else:
            texts.append(said.get(part, re.escape(part)))
    return "".join(texts)
