"""Padding that nobody meant: a digit too many, and sizes that need none."""

from __future__ import annotations

import functools
import logging
import math

from kfc_jax.structures.kronecker_term import KroneckerTerm
from kfc_jax.structures.sizes import good_size

_log = logging.getLogger(__name__)


def with_digits_mended(term: KroneckerTerm, inputs: int, features: int) -> KroneckerTerm:
    """Returns the term with every padded side exact that one other digit makes exact.

    For 500 features ``20x26`` becomes ``20x25``. Sides that are exact, or that no single digit
    makes so, stay as they are.
    """
    rows, columns = (
        _with_digit_mended(tuple(shape[axis] for shape in term.shapes), size)
        for axis, size in enumerate((inputs, features))
    )
    shapes = tuple(zip(rows, columns, strict=True))
    return KroneckerTerm(shapes, min(term.rank, KroneckerTerm(shapes).max_rank))


def _with_digit_mended(sides: tuple[int, ...], size: int) -> tuple[int, ...]:
    product = math.prod(sides)
    if product == size:
        return sides
    for k, side in enumerate(sides):
        exact, rest = divmod(size, product // side)
        digits, others = str(exact), str(side)
        if rest or not exact or len(digits) != len(others):
            continue
        if sum(a != b for a, b in zip(digits, others, strict=True)) == 1:
            return (*sides[:k], exact, *sides[k + 1 :])
    return sides


def needs_no_padding(term: KroneckerTerm, inputs: int, features: int) -> bool:
    """Says whether a side is padded though its size splits well into as many factors."""
    return any(
        padded != size == good_size(size, term.num_factors)
        for size, padded in ((inputs, term.inputs), (features, term.features))
    )


@functools.cache
def say_padding(text: str, padded: str, size: str) -> None:
    """Logs a warning that a structure pads a layer: once for each."""
    _log.warning(
        "Structure '%s' pads the layer's kernel of %s to %s, though these sizes split into factors "
        "without padding. If it is meant, write '%s@%s', which says nothing.",
        text,
        size,
        padded,
        text,
        size,
    )
