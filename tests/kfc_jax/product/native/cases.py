"""Random structures with random numbers, and what their products and gradients are in float64."""

from __future__ import annotations

import dataclasses
import math
import string

import jax.numpy as jnp
import numpy as np

from kfc_jax import KroneckerStructure, KroneckerTerm
from tests.kfc_jax.reference import dense_kernel

DTYPES = ("float32", "bfloat16", "float64")
PRIMES = tuple(n for n in range(2, 101) if all(n % d for d in range(2, n)))
_LARGEST_KERNEL = 2**19  # numbers, so that the dense kernel is soon formed
_MOST_WORK = 2**22  # numbers of a kernel times its ranks
_BATCHES = (1, 1, 2, 3, 5, 7, 8, 13, 31, 32, 33, 64, 97)
_ROUNDING = {"float32": 2.0**-24, "bfloat16": 2.0**-8, "float64": 2.0**-53}


@dataclasses.dataclass(frozen=True)
class Case:
    """A structure, a batch and a type, with arrays that are exact in it."""

    structure: KroneckerStructure
    dtype: str
    x: np.ndarray
    factors: list[list[np.ndarray]]
    g: np.ndarray

    def __str__(self) -> str:
        return f"'{self.structure}', batch {len(self.x)}, {self.dtype}"

    def expected(self) -> tuple[np.ndarray, ...]:
        """Returns the result and the gradients of samples and of all factors, in float64."""
        return _maths(self.structure, self.x, self.factors, self.g)

    def scale(self) -> tuple[np.ndarray, ...]:
        """Returns the same of all absolute values: the sum of what is added up in each number."""
        x, g = np.abs(self.x), np.abs(self.g)
        return _maths(self.structure, x, [[np.abs(f) for f in t] for t in self.factors], g)


def draw_pair(seed: int) -> Case:
    """Draws one term of two factors, in a third of the cases padded."""
    rng = np.random.default_rng(seed)
    term = _term(rng, 2)
    return _with_numbers(rng, _padded(rng, (term,)))


def draw_structure(seed: int) -> Case:
    """Draws a structure of up to three terms of two to four factors, often padded."""
    rng = np.random.default_rng(seed)
    first = _term(rng, int(rng.integers(2, 5)))
    terms = [first]
    for _ in range(rng.choice([0, 0, 1, 2])):
        count = int(rng.integers(2, 4))
        sides = (_regrouped(rng, size, count) for size in (first.inputs, first.features))
        shapes = tuple(zip(*sides, strict=True))
        terms.append(_with_rank(rng, shapes))
    return _with_numbers(rng, _padded(rng, tuple(terms)))


def relative_errors(case: Case, results: list[np.ndarray]) -> list[float]:
    """Returns the largest error of every array, relative to what is added up in its numbers."""
    errors = []
    for result, wanted, scale in zip(results, case.expected(), case.scale(), strict=True):
        result = np.asarray(result, np.float64)
        assert result.shape == wanted.shape
        assert np.isfinite(result).all()
        errors.append(float(np.max(np.abs(result - wanted) / (scale + np.finfo(float).tiny))))
    return errors


def tolerance(case: Case) -> float:
    """Returns the error that rounding may cause.

    Sums of half precision are kept in single precision, and rounded once for every term.
    """
    if case.dtype == "bfloat16":
        return 2 * len(case.structure.terms) * _ROUNDING["bfloat16"]
    # Errors of a sum of n grow like its root, relative to the sum of the absolute values.
    return 16 * _ROUNDING[case.dtype]


def _maths(structure, x, factors, g):
    kernel = dense_kernel(structure, factors)
    of_kernel = np.zeros(np.max([(t.inputs, t.features) for t in structure.terms], axis=0))
    of_kernel[: structure.inputs, : structure.features] = x.T @ g
    of_factors = []
    for term, arrays in zip(structure.terms, factors, strict=True):
        parts = of_kernel[: term.inputs, : term.features]
        sides = [*(n for n, _ in term.shapes), *(m for _, m in term.shapes)]
        parts = parts.reshape(sides)
        count = term.num_factors
        rows, columns = string.ascii_lowercase[:count], string.ascii_lowercase[count : 2 * count]
        names = [rows[k] + columns[k] for k in range(count)]
        for k in range(count):
            others = [j for j in range(count) if j != k]
            rule = ",".join([rows + columns, *("z" + names[j] for j in others)]) + "->z" + names[k]
            arrays_of_others = [arrays[j] for j in others]
            of_factors.append(np.einsum(rule, parts, *arrays_of_others, optimize="greedy"))
    return (x @ kernel, g @ kernel.T, *of_factors)


def fill(rng, structure: KroneckerStructure, dtype: str, batch: int) -> Case:
    """Returns a structure with random numbers."""

    def numbers(*shape: int) -> np.ndarray:
        drawn = rng.standard_normal(shape)
        return np.asarray(jnp.asarray(drawn, jnp.bfloat16 if dtype == "bfloat16" else "float32"))

    arrays = [[numbers(t.rank, *shape) for shape in t.shapes] for t in structure.terms]
    factors = [[np.asarray(array, np.float64) for array in term] for term in arrays]
    x, g = numbers(batch, structure.inputs), numbers(batch, structure.features)
    return Case(structure, dtype, np.asarray(x, float), factors, np.asarray(g, float))


def _with_numbers(rng, structure: KroneckerStructure) -> Case:
    dtype = str(rng.choice(DTYPES, p=[0.5, 0.25, 0.25]))
    return fill(rng, structure, dtype, int(rng.choice(_BATCHES)))


def _term(rng, count: int) -> KroneckerTerm:
    while True:
        shapes = tuple((_side(rng, count), _side(rng, count)) for _ in range(count))
        size = math.prod(n * m for n, m in shapes)
        if size <= _LARGEST_KERNEL:
            return _with_rank(rng, shapes)


def _side(rng, count: int) -> int:
    largest = 100 if count == 2 else 12
    if rng.random() < 0.25:
        return int(rng.choice([p for p in PRIMES if p <= largest]))
    return round(float(np.exp(rng.uniform(0, np.log(largest)))))


def _with_rank(rng, shapes) -> KroneckerTerm:
    size = math.prod(n * m for n, m in shapes)
    largest = max(1, min(KroneckerTerm(shapes).max_rank, _MOST_WORK // size, 64))
    rank = rng.choice([1, largest, int(rng.integers(1, largest + 1)), min(4, largest)])
    return KroneckerTerm(shapes, int(rank))


def _regrouped(rng, size: int, count: int) -> tuple[int, ...]:
    sides = []
    for _ in range(count - 1):
        sides.append(int(rng.choice([d for d in range(1, size + 1) if size % d == 0])))
        size //= sides[-1]
    return (*sides, size)


def _padded(rng, terms) -> KroneckerStructure:
    inputs, features = terms[0].inputs, terms[0].features
    if rng.random() < 0.35:
        inputs, features = (int(rng.integers(-(-20 * n // 21), n + 1)) for n in (inputs, features))
    return KroneckerStructure(tuple(terms), inputs, features)
