"""The methods that a report compares, and how each one looks in every picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from experiments.reporting.trials.trial import Layer


@dataclasses.dataclass(frozen=True)
class Method:
    """A way of making fully connected layers.

    Colours are told apart by the colour-blind (after Okabe and Ito, darker where thin lines on
    white need it); marker and line differ too, so that a print in grey still tells them apart.

    Attributes:
      key: name in tables.
      label: name for people.
      color: on white.
      dark_color: on black.
      marker: Matplotlib's letter.
      line: Matplotlib's line style.
    """

    key: str
    label: str
    color: str
    dark_color: str
    marker: str
    line: str

    @property
    def is_kfc(self) -> bool:
        """Whether its kernels are sums of Kronecker products."""
        return self.key.startswith("kfc")


DENSE = Method("dense", "dense", "#222222", "#eeeeee", "*", "-")
KFC = Method("kfc", "KFC", "#0072b2", "#56b4e9", "o", "-")
KFC_MIXED = Method("kfc_mixed", "KFC, mixed shapes", "#00805e", "#2fc99a", "D", "--")
KFC_FACTORS = Method("kfc_factors", "KFC, three or more factors", "#a8478a", "#e79bcb", "^", "-.")
LOW_RANK = Method("low_rank", "low rank", "#c44e00", "#ff9d4d", "s", ":")
COMBINED = Method("combined", "KFC and low rank", "#7a6a00", "#f0e442", "P", "-")

METHODS = (DENSE, KFC, KFC_MIXED, KFC_FACTORS, LOW_RANK, COMBINED)


def method_of(layers: Sequence[Layer]) -> Method:
    """Returns the method of a model from its fully connected layers."""
    kinds = {layer.kind for layer in layers} & {"kfc", "low_rank"}
    if not kinds:
        return DENSE
    if len(kinds) == 2:
        return COMBINED
    if kinds == {"low_rank"}:
        return LOW_RANK
    structures = [layer.structure for layer in layers if layer.kind == "kfc"]
    if any("+" in structure for structure in structures):
        return KFC_MIXED
    if any(structure.count("*") > 1 for structure in structures):
        return KFC_FACTORS
    return KFC


def structure_of(layers: Sequence[Layer]) -> str:
    """Returns the structures of a model's fully connected layers as one text."""
    texts = ["dense" if layer.kind == "dense" else layer.structure for layer in layers]
    if len(set(texts)) == 1 and (len(texts) == 1 or texts[0] == "dense"):
        return texts[0]
    return ", ".join(f"{layer.name} {text}" for layer, text in zip(layers, texts, strict=True))
