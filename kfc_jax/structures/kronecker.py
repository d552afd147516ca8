"""The structure of a Kronecker-factored kernel: shapes, ranks and counts, without any arrays.

A kernel of ``inputs`` rows and ``features`` columns is a sum of terms, which may have different
shapes: the combination of Zhou & Wu, arXiv 1507.05775, section 3.3. All numbers here are exact
integers.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable
from typing import Any, cast

from kfc_jax.structures.kronecker_padding import (
    needs_no_padding,
    say_padding,
    with_digits_mended,
)
from kfc_jax.structures.kronecker_term import (
    EXAMPLE,
    KroneckerTerm,
    Shape,
    nearest_term,
    whole_number,
)
from kfc_jax.structures.kronecker_text import format_terms, read_terms
from kfc_jax.structures.layer_structure import DEFAULT_RANK, Shapes
from kfc_jax.structures.sizes import (
    LARGEST_SIZE,
    good_size,
    largest_allowed_size,
    most_even_split,
    ordered_splits,
)
from kfc_jax.structures.sum_of_factors import SumOfFactors


@dataclasses.dataclass(frozen=True, repr=False)
class KroneckerStructure(SumOfFactors):
    """The structure of a kernel: one or more terms, which may have different shapes.

    Its text form is what configs, commands and file names use; ``parse`` and ``str`` are inverse
    to each other::

      >>> structure = KroneckerStructure.parse("8:28x32*28x32+4:14x16*56x64")
      >>> structure.inputs, structure.features, structure.num_parameters
      (784, 1024, 29568)
      >>> str(structure)
      '8:28x32*28x32+4:14x16*56x64'

    Terms may be larger than the kernel by a bounded padding: the kernel is then their top left
    corner. The text form says so by a suffix, ``16:64x60*64x63@4096x3755``.

    Attributes:
      terms: the terms, whose sum is the kernel.
      inputs: the number of rows of the kernel. Default: that of the terms, which must agree.
      features: the number of columns of the kernel. Default: that of the terms, which must agree.

    Raises:
      ValueError: if there is no term, or the terms do not fit ``inputs`` and ``features``; the
        message names both sizes and the nearest structure that would fit.
    """

    kind = "kfc"
    example = "8:28x32*28x32"
    depends_on_unit_order = True

    terms: tuple[KroneckerTerm, ...]
    inputs: int = cast("int", None)  # until __post_init__
    features: int = cast("int", None)

    def __post_init__(self) -> None:
        terms = tuple(self.terms)
        if not terms:
            raise ValueError(f"A structure needs at least one term, for example {EXAMPLE}.")
        object.__setattr__(self, "terms", terms)
        for side in ("inputs", "features"):
            size = getattr(self, side)
            if size is None:
                sizes = sorted({getattr(term, side) for term in terms})
                if len(sizes) > 1:
                    raise ValueError(
                        f"The terms of '{format_terms(terms)}' have different numbers of {side}: "
                        f"{sizes}. Make them equal, or, if they are padded, say the kernel's size: "
                        f"'{format_terms(terms)}@INPUTSxFEATURES'."
                    )
                size = sizes[0]
            elif size < 1:
                raise ValueError(f"A kernel needs at least 1 of {side}, got {size}.")
            size = whole_number(f"The number of {side}", size)
            if size > LARGEST_SIZE:
                raise ValueError(
                    f"'{format_terms(terms)[:80]}' has more than {LARGEST_SIZE:,} {side}, which no "
                    "layer has; correct its sizes."
                )
            object.__setattr__(self, side, size)
        if not all(self._fits(term) for term in terms):
            raise ValueError(self._misfit_message())

    @classmethod
    def parse(cls, text: str) -> KroneckerStructure:
        """Reads the text form, e.g. ``'8:28x32*28x32+4:14x16*56x64'``; the rank defaults to 1.

        Raises:
          ValueError: if the text is not of that form, or the structure is not valid.
        """
        terms, sizes = read_terms(text)
        return cls(terms, *sizes)

    @classmethod
    def balanced(
        cls, inputs: int, features: int, rank: int | None = None, num_factors: int = 2
    ) -> KroneckerStructure:
        """Returns one term whose factors are as equal in size as possible.

        Both sides are padded to the next size that splits well and split most evenly; small row
        counts meet large column counts, which gives the fewest parameters.

        Args:
          inputs: the number of rows of the kernel.
          features: the number of columns of the kernel.
          rank: the number of products to sum. Default: 8, or fewer where the term's `max_rank` is
            lower or the layer would have more than half of the dense one's parameters; never below
            1.
          num_factors: the number of factors in each product.

        Raises:
          ValueError: if an argument is out of range.
        """
        for name, value in (("inputs", inputs), ("features", features)):
            if value < 1:
                raise ValueError(f"A kernel needs at least 1 of {name}, got {value}.")
        if num_factors < 1:
            raise ValueError(f"A product needs at least 1 factor, got num_factors={num_factors}.")
        rows = most_even_split(good_size(inputs, num_factors), num_factors)
        columns = most_even_split(good_size(features, num_factors), num_factors)
        term = KroneckerTerm(tuple(zip(rows, reversed(columns), strict=True)))
        if rank is None:
            halving = inputs * features // (2 * term.num_parameters)
            rank = max(1, min(DEFAULT_RANK, term.max_rank, halving))
        return cls((KroneckerTerm(term.shapes, rank),), inputs, features)

    @classmethod
    def candidates(
        cls, inputs: int, features: int, num_factors: int = 2, rank: int = 1
    ) -> list[KroneckerStructure]:
        """Lists every shape of ``num_factors`` factors that fits, fewest parameters first.

        Sides that do not split well (primes) are padded first. Two sorts of shapes are left out:
        those with a 1x1 factor, which have fewer factors in truth, and those whose `max_rank` is
        below ``rank``. The results tell their ``num_parameters`` and ``flops(batch)``.

        Args:
          inputs: the number of rows of the kernel.
          features: the number of columns of the kernel.
          num_factors: the number of factors in each product.
          rank: the rank of the results.

        Raises:
          ValueError: if an argument is out of range.
        """
        balanced = cls.balanced(inputs, features, rank=1, num_factors=num_factors)
        if rank < 1:
            raise ValueError(f"A rank is at least 1, got {rank}.")
        found = []
        for rows, columns in itertools.product(
            ordered_splits(balanced.padded_inputs, num_factors),
            ordered_splits(balanced.padded_features, num_factors),
        ):
            shapes = tuple(zip(rows, columns, strict=True))
            if num_factors > 1 and (1, 1) in shapes:
                continue
            if KroneckerTerm(shapes).max_rank >= rank:
                found.append(cls((KroneckerTerm(shapes, rank),), inputs, features))
        if not found and rank == 1:  # a row, a column or a single entry of the smallest sizes
            found.append(balanced)
        return sorted(found, key=lambda s: (s.num_parameters, s.terms[0].shapes))

    def fit(self, inputs: int, features: int) -> KroneckerStructure:
        """Returns this structure for a kernel of ``(inputs, features)``, padded where larger.

        Padding of a size that would split well without it is logged, once, unless the structure
        says its size behind ``@``.

        Raises:
          ValueError: if it does not fit: smaller than the kernel, or over 5% larger; or if it is
            larger by a mistyped digit: one other digit would make it exact.
        """
        if (self.inputs, self.features) == (inputs, features):
            return self
        if self.is_padded:
            raise ValueError(
                f"Structure '{self}' is for a kernel of {self.inputs}x{self.features}, but the "
                f"layer's is {inputs}x{features}. Change the size behind '@', or leave it out."
            )
        fitted = KroneckerStructure(self.terms, inputs, features)
        sizes = f"{self.inputs}x{self.features}", f"{inputs}x{features}"
        mended = tuple(with_digits_mended(term, inputs, features) for term in self.terms)
        if mended != self.terms:
            exact = KroneckerStructure(mended, inputs, features)
            raise ValueError(
                f"Structure '{self}' gives a kernel of {sizes[0]}, larger than the layer's "
                f"{sizes[1]} by a digit. If this padding is meant, write '{fitted}'. The nearest "
                f"structure that fits is '{exact}'."
            )
        if any(needs_no_padding(term, inputs, features) for term in self.terms):
            say_padding(str(self), *sizes)
        return fitted

    @classmethod
    def read(cls, text: str, inputs: int, features: int) -> KroneckerStructure:
        """Returns the structure that the text form means for a kernel of this size.

        Raises:
          ValueError: if the text is not of that form, or the structure does not fit.
        """
        return cls.parse(text).fit(inputs, features)

    @classmethod
    def size_of(cls, text: str, shapes: Shapes) -> tuple[int, int]:
        """Returns the size that the text form tells; padded factors do not tell it."""
        del shapes
        structure = cls.parse(text)
        return structure.inputs, structure.features

    @classmethod
    def of_rank_one(cls, inputs: int, features: int) -> list[KroneckerStructure]:
        """Lists the shapes of two factors, without those that are of low rank by another name."""
        found = cls.candidates(inputs, features)
        return [s for s in found if not _is_column_times_row(s.terms[0].shapes)]

    @property
    def max_rank(self) -> int:
        """The sum of the ranks beyond which the terms gain nothing."""
        return sum(term.max_rank for term in self.terms)

    def with_rank(self, rank: int) -> KroneckerStructure:
        """Returns the structure of one term with another rank.

        Raises:
          ValueError: if there are several terms, or the rank is out of range.
        """
        if len(self.terms) > 1:
            raise ValueError(f"Structure '{self}' has several terms, whose ranks differ.")
        term = KroneckerTerm(self.terms[0].shapes, rank)
        return KroneckerStructure((term,), self.inputs, self.features)

    @property
    def transposed(self) -> KroneckerStructure:
        """The structure of the transposed kernel, whose factors are those of this one transposed.

        >>> KroneckerStructure.parse("8:28x32*28x30@784x955").transposed
        KroneckerStructure.parse('8:32x28*30x28@955x784')
        """
        terms = (KroneckerTerm(tuple((m, n) for n, m in t.shapes), t.rank) for t in self.terms)
        return KroneckerStructure(tuple(terms), self.features, self.inputs)

    @property
    def num_products(self) -> int:
        """The number of products that are summed, over all terms."""
        return sum(term.rank for term in self.terms)

    @property
    def matrix_rank(self) -> int:
        """The largest matrix rank that the kernel can have.

        A product has the product of its factors' ranks; ``5x125*160x4`` at most ``5 * 4``.
        """
        of_terms = (t.rank * math.prod(map(min, t.shapes)) for t in self.terms)
        return min(self.inputs, self.features, sum(of_terms))

    @property
    def padded_inputs(self) -> int:
        """The number of rows of the largest term; inputs are padded with zeros up to it."""
        return max(term.inputs for term in self.terms)

    @property
    def padded_features(self) -> int:
        """The number of columns of the largest term; those beyond ``features`` are cut off."""
        return max(term.features for term in self.terms)

    @property
    def is_padded(self) -> bool:
        """Whether any term is larger than the kernel."""
        return any(
            (term.inputs, term.features) != (self.inputs, self.features) for term in self.terms
        )

    @property
    def num_parameters(self) -> int:
        """The number of entries of all factors, padding included; the bias is not counted."""
        return sum(term.num_parameters for term in self.terms)

    @property
    def reduction(self) -> float:
        """The fraction of the dense kernel's parameters that is saved, of this kernel alone."""
        return 1 - self.num_parameters / self.dense_parameters

    def factor_scale(self, term: int, factor: int, variance: Any) -> Any:
        """Returns the standard deviation of a factor's entries that gives a kernel's ``variance``.

        Every term has the same part of the variance, and all factors of a term the same norm.
        """
        shapes = self.terms[term].shapes
        # A float: a layer may have more entries than a traced integer can count.
        size = float(self.terms[term].inputs * self.terms[term].features)
        of_product = variance / (len(self.terms) * self.terms[term].rank) * size
        return of_product ** (1 / (2 * len(shapes))) / math.sqrt(math.prod(shapes[factor]))

    def materialized_terms(self, batch: int) -> tuple[bool, ...]:
        """Says for each term whether forming it densely first needs fewer FLOPs at this batch.

        Materialised terms share one dense product of ``2 * batch * inputs * features`` FLOPs, so
        either none is materialised, or each one for which that is cheaper given the product.
        """
        cheaper = tuple(t.materialize_flops < t.factored_flops(batch) for t in self.terms)
        factored = sum(t.factored_flops(batch) for t in self.terms)
        return cheaper if self._flops(batch, cheaper) < factored else (False,) * len(self.terms)

    def flops(self, batch: int) -> int:
        """Returns the least arithmetic of ``x @ kernel`` for ``x: (batch, inputs)``, in FLOPs.

        It is the minimum over all orders of the factors and all choices of terms that are formed
        first. A multiplication and an addition count as two; the bias and the addition of the
        terms' outputs are left out. What a machine is predicted to do fastest may be more
        arithmetic: `kfc_jax.explain` tells both.
        """
        return self._flops(batch, self.materialized_terms(batch))

    def forms_kernel(self, batch: int) -> bool:
        """Says whether the least arithmetic at this batch forms the kernel of any term first."""
        return any(self.materialized_terms(batch))

    def _flops(self, batch: int, materialized: Iterable[bool]) -> int:
        materialized = tuple(materialized)
        flops = 2 * batch * self.dense_parameters if any(materialized) else 0
        for term, dense in zip(self.terms, materialized, strict=True):
            flops += term.materialize_flops if dense else term.factored_flops(batch)
        return flops

    def _fits(self, term: KroneckerTerm) -> bool:
        return all(
            size <= padded <= largest_allowed_size(size, term.num_factors)
            for size, padded in ((self.inputs, term.inputs), (self.features, term.features))
        )

    def _misfit_message(self) -> str:
        nearest = tuple(
            term if self._fits(term) else nearest_term(term, self.inputs, self.features)
            for term in self.terms
        )
        suggestion = str(KroneckerStructure(nearest, self.inputs, self.features))
        sizes = " and ".join(
            dict.fromkeys(f"{t.inputs}x{t.features}" for t in self.terms if not self._fits(t))
        )
        return (
            f"Structure '{format_terms(self.terms)}' gives a kernel of {sizes}, but the layer "
            f"needs {self.inputs}x{self.features} (inputs x features; padding by up to 5% is "
            f"allowed). The nearest structure that fits is '{suggestion}'."
        )

    def __str__(self) -> str:
        suffix = f"@{self.inputs}x{self.features}" if self.is_padded else ""
        return format_terms(self.terms) + suffix

    def __repr__(self) -> str:
        return f"KroneckerStructure.parse('{self}')"


def _is_column_times_row(shapes: Shape) -> bool:
    (n1, m1), (n2, m2) = shapes
    return m1 == n2 == 1 or n1 == m2 == 1
