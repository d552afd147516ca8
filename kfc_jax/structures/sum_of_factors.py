"""The base of the kinds that store the factors of a sum of products as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kfc_jax.structures.layer_structure import LayerStructure


class SumOfFactors(LayerStructure):
    """The base of a kind that stores the factors of its terms as they are.

    Factor ``k`` of term ``t`` is the array ``kernel_{t}_{k}`` of shape ``(rank, n_k, m_k)``.
    """

    parameter_pattern = re.compile(r"kernel_(\d+)_(\d+)")

    if TYPE_CHECKING:

        @property
        def terms(self) -> tuple[Any, ...]:
            """The terms, with their ``rank`` and ``shapes``."""
            ...

    @property
    def array_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the arrays by their names in the parameters."""
        return {
            f"kernel_{t}_{k}": (term.rank, *shape)
            for t, term in enumerate(self.terms)
            for k, shape in enumerate(term.shapes)
        }

    @classmethod
    def terms_of(cls, names: Iterable[str]) -> list[list[str]]:
        """Sorts the names of a layer's arrays into terms, and each term's into its factors.

        Raises:
          ValueError: if some of the arrays are missing.
        """
        terms: list[list[str]] = []
        for t, k, name in sorted((*map(int, cls._match(n).groups()), n) for n in names):
            if k == 0:
                terms.append([])
            if t != len(terms) - 1 or k != len(terms[-1]):
                raise ValueError(f"The factor before {name} is missing.")
            terms[-1].append(name)
        return terms
