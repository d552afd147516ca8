"""The methods that a report compares, and how each one looks in every picture."""

from __future__ import annotations

import colorsys
import dataclasses
import zlib
from collections.abc import Iterable, Sequence

from experiments.runs import Layer


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
    def family(self) -> str:
        """What sentences call it: `KFC` for every way of summing Kronecker products."""
        return "KFC" if self in (KFC, KFC_MIXED, KFC_FACTORS) else self.key.replace("_", "-")

    def label_of(self, structure: str) -> str:
        """Returns a structure of the method as a name that stands alone."""
        return f"low rank, {structure}" if self == LOW_RANK else structure


# The first of each have the names of the library's kinds, whose import would take JAX's seconds.
DENSE = Method("dense", "dense", "#222222", "#eeeeee", "*", "-")
KFC = Method("kfc", "KFC", "#0072b2", "#56b4e9", "o", "-")
KFC_MIXED = Method("kfc_mixed", "KFC, mixed shapes", "#00805e", "#2fc99a", "D", "--")
KFC_FACTORS = Method("kfc_factors", "KFC, three or more factors", "#a8478a", "#e79bcb", "^", "-.")
LOW_RANK = Method("low_rank", "low rank", "#c44e00", "#ff9d4d", "s", ":")
NO_LAYER = Method("none", "no layer", "#777777", "#999999", "X", "--")
COMBINED = Method("combined", "KFC and low rank", "#7a6a00", "#f0e442", "P", "-")
NARROW_DENSE = Method("narrow_dense", "narrow dense", "#6b4f3a", "#c9a58a", "d", ":")

_KNOWN = (DENSE, KFC, KFC_MIXED, KFC_FACTORS, LOW_RANK, COMBINED, NARROW_DENSE, NO_LAYER)
_SPARE_LOOKS = (("v", "--"), ("X", "-."), ("<", ":"), ("p", "-"), (">", "--"), ("h", "-."))


def is_fully_connected(layer: Layer) -> bool:
    """Says whether a layer of a run is fully connected: it has a structure, and is no convolution.

    A kind that this module does not know counts too.
    """
    return bool(layer.structure) and layer.kind != "conv"


def way_of(layer: Layer) -> tuple[str, str]:
    """Returns kind and structure, which tell layers apart; trained dense ones are all alike.

    The kind of a layer that was not trained says so.
    """
    kind = f"frozen_{layer.kind}" if layer.frozen else layer.kind
    return kind, "" if layer.kind == DENSE.key else layer.structure


def method_of(layers: Sequence[Layer]) -> Method:
    """Returns the method of a model from its fully connected layers.

    A kind of layer that has no method here is a method of its own, called by its name.
    """
    kinds = sorted({way_of(layer)[0] for layer in layers} - {DENSE.key})
    if not kinds:
        return DENSE
    if kinds == [LOW_RANK.key]:
        return LOW_RANK
    if kinds == [NO_LAYER.key]:
        return NO_LAYER
    if kinds == [KFC.key, LOW_RANK.key]:
        return COMBINED
    if kinds != [KFC.key]:
        return _unknown(kinds)
    structures = [layer.structure for layer in layers if layer.kind == KFC.key]
    if any("+" in structure for structure in structures):
        return KFC_MIXED
    if any(structure.count("*") > 1 for structure in structures):
        return KFC_FACTORS
    return KFC


def in_order(methods: Iterable[Method]) -> list[Method]:
    """Returns each of the methods once, in the order in which every report shows them."""
    return sorted(
        set(methods), key=lambda m: (m in _KNOWN and -len(_KNOWN) + _KNOWN.index(m), m.key)
    )


def structure_of(layers: Sequence[Layer]) -> str:
    """Returns the structures of a model's fully connected layers as one text."""
    texts = [_text(layer) for layer in layers]
    if len(set(texts)) == 1 and (len(texts) == 1 or texts[0] == DENSE.key):
        return texts[0]
    return ", ".join(f"{layer.name} {text}" for layer, text in zip(layers, texts, strict=True))


def _text(layer: Layer) -> str:
    if layer.frozen:
        return f"frozen {_text(dataclasses.replace(layer, frozen=False))}"
    if layer.kind == DENSE.key:
        return DENSE.key
    if layer.kind in (KFC.key, LOW_RANK.key) or layer.structure.startswith(layer.kind):
        return layer.structure
    # Two kinds may write their structures alike, and are not one for it.
    return f"{layer.kind} {layer.structure}"


def _unknown(kinds: Sequence[str]) -> Method:
    """Returns a method for kinds without one; its look follows from its name alone."""
    key = "_and_".join(kinds)
    label = key.replace(KFC.key, KFC.label).replace("_", " ")
    number = zlib.crc32(key.encode())
    marker, line = _SPARE_LOOKS[number % len(_SPARE_LOOKS)]
    on_white, on_black = (
        "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, light, 0.6))
        for hue, light in ((number / 2**32, 0.33), (number / 2**32, 0.75))
    )
    return Method(key, label, on_white, on_black, marker, line)
