"""Reads the text form of a structure, of whatever kind."""

from __future__ import annotations

from kfc_jax.structures.layer_structure import LayerStructure, layer_kinds
from kfc_jax.structures.sum_of_factors import SumOfFactors


def read_layer_structure(
    structure: LayerStructure | str, inputs: int, features: int
) -> LayerStructure:
    """Returns the structure that a text means for a kernel of this size.

    Args:
      structure: the text form of any kind, such as ``dense``, ``rank 3`` or
        ``8:28x32*28x32``, or a structure.
      inputs: the number of rows of the kernel.
      features: the number of columns of the kernel.

    Raises:
      ValueError: if the text cannot be read, or does not fit the kernel.
    """
    text = " ".join(str(structure).split())
    # Sums of factors come last: they take every text that no other kind does, and say what is
    # wrong with it.
    *others, last = sorted(layer_kinds().values(), key=lambda kind: issubclass(kind, SumOfFactors))
    for kind in others:
        if (found := kind.read(text, inputs, features)) is not None:
            return found
    try:
        found = last.read(text, inputs, features)
    except ValueError as error:
        examples = " or ".join(f"'{kind.example}' ({kind.kind})" for kind in others)
        raise ValueError(f"{error} Or write {examples}.") from error
    assert found is not None
    return found
