"""The text form of a sum of Kronecker-factored terms, such as ``8:28x32*28x32+4:14x16*56x64``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kfc_jax.structures.kronecker_term import EXAMPLE, KroneckerTerm

_NUMBER = r"[0-9]{1,18}"


def read_terms(text: str) -> tuple[tuple[KroneckerTerm, ...], tuple[int, ...]]:
    """Reads the terms of a structure and, if the text says it behind ``@``, the kernel's size.

    Returns:
      The terms, and the numbers of inputs and features; nothing of these if the text has no ``@``.

    Raises:
      ValueError: if the text is not of that form, or a term is not valid.
    """
    body, at, size = text.strip().partition("@")
    sizes: tuple[int, ...] = ()
    if at:
        match = re.fullmatch(rf"({_NUMBER})x({_NUMBER})", size)
        if not match:
            raise ValueError(
                f"Cannot read the kernel's size '{size[:80]}' in structure '{text[:80]}': write it "
                "as INPUTSxFEATURES, for example '16:64x60*64x63@4096x3755'."
            )
        sizes = int(match[1]), int(match[2])
    terms = []
    for part in body.split("+"):
        match = re.fullmatch(
            rf"(?:({_NUMBER}):)?({_NUMBER}x{_NUMBER}(?:\*{_NUMBER}x{_NUMBER})*)", part
        )
        if not match:
            raise ValueError(
                f"Cannot read the term '{part[:80]}' of structure '{text[:80]}': write "
                f"RANK:N1xM1*N2xM2, terms joined by '+', for example {EXAMPLE}."
            )
        sides = (factor.split("x") for factor in match[2].split("*"))
        shapes = tuple((int(n), int(m)) for n, m in sides)
        terms.append(KroneckerTerm(shapes, int(match[1] or 1)))
    return tuple(terms), sizes


def format_terms(terms: Iterable[KroneckerTerm]) -> str:
    """Returns the text form of the terms, without the kernel's size."""
    return "+".join(map(str, terms))
