"""The methods that a report compares, and how each one looks in every picture."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Iterable, Sequence

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
        return self in (KFC, KFC_MIXED, KFC_FACTORS)


DENSE = Method("dense", "dense", "#222222", "#eeeeee", "*", "-")
KFC = Method("kfc", "KFC", "#0072b2", "#56b4e9", "o", "-")
KFC_MIXED = Method("kfc_mixed", "KFC, mixed shapes", "#00805e", "#2fc99a", "D", "--")
KFC_FACTORS = Method("kfc_factors", "KFC, three or more factors", "#a8478a", "#e79bcb", "^", "-.")
LOW_RANK = Method("low_rank", "low rank", "#c44e00", "#ff9d4d", "s", ":")
COMBINED = Method("combined", "KFC and low rank", "#7a6a00", "#f0e442", "P", "-")

METHODS = (DENSE, KFC, KFC_MIXED, KFC_FACTORS, LOW_RANK, COMBINED)

# Of kinds that are not known here, by turns: further colours of the same palette.
_COLORS = (("#56606b", "#b8c4d0"), ("#8c3b2a", "#f2a08e"), ("#4b5d16", "#c3d97d"))
_MARKERS = ("v", "X", "p", "h", "<", ">")


def method_of(layers: Sequence[Layer]) -> Method:
    """Returns the method of a model from its fully connected layers.

    A kind that is not known here is a method of its own, under its own name.
    """
    kinds = {layer.kind for layer in layers} - {"dense"}
    if not kinds:
        return DENSE
    if kinds - {"kfc", "low_rank"}:
        return _method_of_kinds(tuple(sorted(kinds)))
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


def in_order(methods: Iterable[Method]) -> list[Method]:
    """Returns methods, each once: those of METHODS in their order, then the others by name."""
    found = set(methods)
    return [m for m in METHODS if m in found] + sorted(
        found.difference(METHODS), key=lambda method: method.key
    )


@functools.cache
def _method_of_kinds(kinds: tuple[str, ...]) -> Method:
    """Returns the method of kinds of layers that are not known here.

    Its looks depend on the names alone, so that they are the same in every report.
    """
    number = zlib.crc32(" ".join(kinds).encode())
    color, dark_color = _COLORS[number % len(_COLORS)]
    names = {"kfc": "KFC", "low_rank": "low rank"}
    label = " and ".join(names.get(kind, kind.replace("_", " ")) for kind in kinds)
    return Method("_".join(kinds), label, color, dark_color, _MARKERS[number % len(_MARKERS)], "-")


def structure_of(layers: Sequence[Layer]) -> str:
    """Returns the structures of a model's fully connected layers as one text."""
    texts = ["dense" if layer.kind == "dense" else layer.structure for layer in layers]
    if len(set(texts)) == 1 and (len(texts) == 1 or texts[0] == "dense"):
        return texts[0]
    return ", ".join(f"{layer.name} {text}" for layer, text in zip(layers, texts, strict=True))
