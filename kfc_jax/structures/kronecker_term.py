"""A term of a Kronecker-factored kernel: factors of fixed shapes, and how many products are summed.

A term sums ``rank`` Kronecker products ``F_1 (x) ... (x) F_N`` of factors with fixed shapes
``(n_k, m_k)``, as in Zhou & Wu, arXiv 1507.05775, section 3 (there two factors).
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from typing import SupportsIndex, cast

from kfc_jax.structures.sizes import good_size, ordered_splits

Shape = tuple[tuple[int, int], ...]

EXAMPLE = "'8:28x32*28x32+4:14x16*56x64'"


@dataclasses.dataclass(frozen=True)
class KroneckerTerm:
    """A sum of ``rank`` Kronecker products of factors with the same shapes.

    Attributes:
      shapes: the shape ``(n_k, m_k)`` of every factor; the indices of the first factor are the slow
        ones. A single factor is a dense matrix.
      rank: the number of products that are summed.

    Raises:
      ValueError: if a size or the rank is not a positive integer, or the rank is above `max_rank`.
    """

    shapes: Shape
    rank: int = 1

    def __post_init__(self) -> None:
        shapes = tuple(
            (whole_number("A factor's side", n), whole_number("A factor's side", m))
            for n, m in self.shapes
        )
        if not shapes or any(n < 1 or m < 1 for n, m in shapes):
            raise ValueError(
                f"A term needs at least one factor, every side at least 1; got {self.shapes}. "
                f"Write for example {EXAMPLE}."
            )
        object.__setattr__(self, "shapes", shapes)
        object.__setattr__(self, "rank", whole_number("A rank", self.rank))
        if not 1 <= self.rank <= self.max_rank:
            raise ValueError(
                f"Rank {self.rank} of {_format_shape(shapes)} is out of range: {self.max_rank} "
                f"such products already give every {self.inputs}x{self.features} kernel, so take "
                f"a rank from 1 to {self.max_rank}."
            )

    @property
    def num_factors(self) -> int:
        """The number of factors N in each product."""
        return len(self.shapes)

    @property
    def inputs(self) -> int:
        """The number of rows of the product, ``prod n_k``."""
        return math.prod(n for n, _ in self.shapes)

    @property
    def features(self) -> int:
        """The number of columns of the product, ``prod m_k``."""
        return math.prod(m for _, m in self.shapes)

    @property
    def max_rank(self) -> int:
        """The rank beyond which nothing is gained.

        For two factors it is the rank of the rearranged kernel, ``min(n1*m1, n2*m2)``; for more,
        the bound on the CP rank of a tensor with sides ``n_k*m_k``: their product over the largest.
        """
        sizes = [n * m for n, m in self.shapes]
        return math.prod(sizes) // max(sizes)

    @property
    def num_parameters(self) -> int:
        """The number of entries of all factors, ``rank * sum(n_k * m_k)``."""
        return self.rank * sum(n * m for n, m in self.shapes)

    @functools.cached_property
    def contraction_order(self) -> tuple[int, ...]:
        """The order of factors in which ``x @ term`` needs the fewest FLOPs.

        Contracting factor k before its neighbour l costs less iff
        ``1/n_k - 1/m_k < 1/n_l - 1/m_l`` (compare the two products' costs and divide by
        ``n_k n_l m_k m_l``). The comparison does not depend on the other factors, so sorting by
        this key gives the optimum over all orders. Ties keep the order of the factors.
        """
        # Compared over the common denominator of all keys: exact, unlike floats.
        scale = math.prod(n * m for n, m in self.shapes)

        def key(k: int) -> int:
            n, m = self.shapes[k]
            return scale // n - scale // m

        return tuple(sorted(range(self.num_factors), key=key))

    def factored_flops(self, batch: int) -> int:
        """Returns the FLOPs of ``x @ term``, ``x: (batch, inputs)``, in the best order."""
        size, flops = self.inputs, 0
        for k in self.contraction_order:
            n, m = self.shapes[k]
            flops += 2 * batch * self.rank * size * m
            size = size // n * m
        return flops

    @property
    def materialize_flops(self) -> int:
        """The FLOPs that form the dense kernel; the last product also sums over the ranks."""
        size, flops = 1, 0
        for k, (n, m) in enumerate(self.shapes):
            size *= n * m
            if k > 0:
                flops += self.rank * size * (2 if k == self.num_factors - 1 else 1)
        return flops

    def __str__(self) -> str:
        return f"{self.rank}:{_format_shape(self.shapes)}"


def whole_number(what: str, value: object) -> int:
    """Returns ``value`` as an integer.

    Raises:
      ValueError: if it is not one; the message calls it ``what``.
    """
    try:
        return operator.index(cast("SupportsIndex", value))
    except TypeError:
        raise ValueError(f"{what} is {value!r}, but must be a whole number.") from None


def _format_shape(shapes: Shape) -> str:
    return "*".join(f"{n}x{m}" for n, m in shapes)


def nearest_term(term: KroneckerTerm, inputs: int, features: int) -> KroneckerTerm:
    """Returns the term of as many factors that fits and whose sides differ as little as can be."""

    def nearest_side(size: int, wanted: tuple[int, ...]) -> tuple[int, ...]:
        padded_sizes = {size, good_size(size, len(wanted))}
        splits = [s for padded in padded_sizes for s in ordered_splits(padded, len(wanted))]
        return min(
            splits,
            key=lambda s: (
                sum(math.log(a / b) ** 2 for a, b in zip(s, wanted, strict=True)),
                math.prod(s),
            ),
        )

    rows = nearest_side(inputs, tuple(n for n, _ in term.shapes))
    columns = nearest_side(features, tuple(m for _, m in term.shapes))
    shapes = tuple(zip(rows, columns, strict=True))
    return KroneckerTerm(shapes, min(term.rank, KroneckerTerm(shapes).max_rank))
