"""Fitting the factors of one term to what it has to account for.

A term sees its *target*, a kernel of its own padded size, as the rearranged tensor. Two factors
without weights have a closed form (Van Loan & Pitsianis). In all other cases the error is quadratic
in each factor given the others, and ``alternate`` solves for one after the other (alternating
least squares, ALS); the error never rises. All is float64 on the host; factors are the vectors of
``kfc_jax.decompose.rearrangement``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Float

from kfc_jax.decompose.rearrangement import Vectors, add_product, khatri_rao, rearrange, restore
from kfc_jax.decompose.second_moment import kronecker_roots
from kfc_jax.decompose.truncated_svd import leading_singular
from kfc_jax.structures import KroneckerTerm, Shape

_RANDOM_STARTS = 3
_START_PASSES = 15
_PROXIMAL = 1e-11  # of the mean curvature: makes singular least squares solvable
_PROXIMAL_FLOAT32 = 1e-5  # above what rounding adds to a small curvature
_ZERO = 1e-300


def fit_term(
    target: Float[np.ndarray, "*axes"], term: KroneckerTerm
) -> list[Float[np.ndarray, "rank _"]]:
    """Returns vectors whose sum of products is nearest to ``target``.

    For up to two factors it is the optimum (Eckart & Young, 1936). For more, it is the best of
    several ALS starts, which the caller improves further.
    """
    if term.num_factors == 1:
        return [target[None]]
    if term.num_factors == 2:
        u, s, vh = leading_singular(target, term.rank)
        return [np.sqrt(s)[:, None] * u.T, np.sqrt(s)[:, None] * vh]
    best: list[Float[np.ndarray, "rank _"]] = []
    lowest = math.inf
    for vectors in _starts(target, term):
        residual = target.copy()
        add_product(residual, vectors, -1)
        for _ in range(_START_PASSES):
            vectors = alternate(residual, vectors, term.shapes)
        error = np.linalg.norm(residual)
        if error < lowest:
            best, lowest = list(vectors), error
    return best


def fit_term_weighted(
    target: Float[np.ndarray, "*axes"], term: KroneckerTerm, moment: Float[np.ndarray, "n n"]
) -> list[Float[np.ndarray, "rank _"]]:
    """Returns vectors near ``target`` under weights, as if ``moment`` were a Kronecker product.

    With roots ``L_k`` of its factors, the weighted error of ``(x)_k F_k`` is the plain error of
    ``(x)_k L_k.T @ F_k``, which is fitted and transformed back. For two factors it is the
    optimum if ``moment`` is a Kronecker product.
    """
    roots = kronecker_roots(moment, term.shapes)
    tensor = target.reshape([side for shape in term.shapes for side in shape])
    for k, root in enumerate(roots):
        tensor = np.moveaxis(np.tensordot(root.T, tensor, (1, 2 * k)), 0, 2 * k)
    vectors = fit_term(np.ascontiguousarray(tensor).reshape(target.shape), term)
    return unweighted_vectors(vectors, roots, term.shapes)


def unweighted_vectors(
    vectors: Vectors, roots: Sequence[Float[np.ndarray, "_ _"]], shapes: Shape
) -> list[Float[np.ndarray, "rank _"]]:
    """Returns the factors ``F_k`` for the vectors ``L_k.T @ F_k``, where ``L_k`` are the roots."""
    result = []
    for vector, root, (n, m) in zip(vectors, roots, shapes, strict=True):
        columns = vector.reshape(-1, n, m).transpose(1, 0, 2).reshape(n, -1)
        solved = scipy.linalg.solve_triangular(root, columns, trans="T", lower=True)
        result.append(solved.reshape(n, -1, m).transpose(1, 0, 2).reshape(vector.shape))
    return result


def alternate(
    residual: Float[np.ndarray, "*axes"],
    vectors: Vectors,
    shapes: Shape,
    moment: Float[np.ndarray, "n n"] | None = None,
) -> list[Float[np.ndarray, "rank _"]]:
    """Improves every factor once, given the others, by the exact minimiser of the error.

    Args:
      residual: the target minus the term's product, rearranged; it is updated in place.
      vectors: the term's factors.
      shapes: the shapes of the factors.
      moment: the second moment of the padded inputs, or None for the plain error.

    Returns:
      The new vectors.
    """
    vectors = list(vectors)
    for k in range(len(shapes)):
        gradient = residual
        if moment is not None:
            gradient = rearrange(moment @ restore(residual, shapes), shapes)
        curvature = _Curvature(vectors, shapes, k, moment)
        step = curvature.solve(_contract_others(gradient, vectors, k))
        add_product(residual, [*vectors[:k], step, *vectors[k + 1 :]], -1)
        vectors[k] = vectors[k] + step
    return vectors


def alternate_on_gradient(
    gradient: Float[np.ndarray, "*axes"],
    vectors: Vectors,
    shapes: Shape,
    moment: Float[np.ndarray, "n n"],
) -> tuple[list[Float[np.ndarray, "rank _"]], float]:
    """Does what ``alternate`` does with a moment, from ``moment @ target``, rearranged.

    No kernel is multiplied with the moment, which is nearly all that ``alternate`` does. Steps are
    differences here: for the last digits of a small error there is ``alternate``.

    Returns:
      The new vectors, and what ``error_reduction`` is for them.
    """
    vectors, reduction = list(vectors), 0.0
    for k in range(len(shapes)):
        curvature = _Curvature(vectors, shapes, k, moment)
        pull = _contract_others(gradient, vectors, k)
        vectors[k] = vectors[k] + curvature.solve(pull - curvature.times(vectors[k]))
        if k + 1 == len(shapes):
            reduction = float(np.vdot(vectors[k], 2 * pull - curvature.times(vectors[k])))
    return vectors, reduction


def error_reduction(
    gradient: Float[np.ndarray, "*axes"],
    vectors: Vectors,
    shapes: Shape,
    moment: Float[np.ndarray, "n n"],
) -> float:
    """Returns by how much the term's product lowers the squared error.

    The arguments are those of ``alternate_on_gradient``.
    """
    pull = _contract_others(gradient, vectors, 0)
    seen = _Curvature(vectors, shapes, 0, moment).times(vectors[0])
    return float(np.vdot(vectors[0], 2 * pull - seen))


def canonical(vectors: Vectors) -> list[Float[np.ndarray, "rank _"]]:
    """Returns the same sum of products with balanced factors in a repeatable order and sign.

    Within each product all factors have the same norm, and the entry of largest magnitude of all
    but the last is positive; the products' norms fall. For two factors the products are made
    orthogonal to each other, too, which leaves no other freedom.
    """
    if len(vectors) == 1:
        return [vectors[0]]
    if len(vectors) == 2:
        (left, left_root), (right, right_root) = (np.linalg.qr(v.T) for v in vectors)
        u, s, vh = scipy.linalg.svd(left_root @ right_root.T)
        vectors = [(left @ u * s).T, vh @ right.T]
    norms = [np.linalg.norm(v, axis=1, keepdims=True) for v in vectors]
    products = np.prod(norms, axis=0)
    even = products ** (1 / len(vectors))
    vectors = [v / np.maximum(norm, _ZERO) * even for v, norm in zip(vectors, norms, strict=True)]
    order = np.argsort(-products[:, 0], kind="stable")
    *heads, last = (v[order] for v in vectors)
    result = []
    for head in heads:
        largest = np.take_along_axis(head, np.abs(head).argmax(1)[:, None], 1)
        sign = np.where(largest < 0, -1.0, 1.0)
        result.append(head * sign)
        last = last * sign
    return [*result, last]


class _Curvature:
    """The matrix of the least squares for the k-th factor, as acting on vectors ``(rank, size)``.

    Without weights, and where the others have one row each, it is a Kronecker product of the inner
    products of the others and the identity or the moment.
    """

    def __init__(
        self,
        vectors: Vectors,
        shapes: Shape,
        k: int,
        moment: Float[np.ndarray, "n n"] | None,
    ) -> None:
        self.rank, (self.n, self.m) = len(vectors[k]), shapes[k]
        self.moment = moment if moment is not None and self.n == len(moment) else None
        if moment is None or self.moment is not None:
            self.matrix = _inner_products(vectors, k)
        else:
            self.matrix = _weighted_curvature(moment, vectors, shapes, k)

    def times(self, vector: Float[np.ndarray, "rank size"]) -> Float[np.ndarray, "rank size"]:
        """Returns the curvature times a vector."""
        return self._apply(vector, np.matmul)

    def solve(self, vector: Float[np.ndarray, "rank size"]) -> Float[np.ndarray, "rank size"]:
        """Returns the step that the normal equations give for a pull."""
        return self._apply(vector, _solve)

    def _apply(self, vector: Any, act: Any) -> Any:
        result = act(self.matrix, vector.reshape(len(self.matrix), -1))
        if self.moment is not None:
            columns = result.reshape(self.rank, self.n, self.m).transpose(1, 0, 2)
            result = act(self.moment, columns.reshape(self.n, -1))
            result = result.reshape(self.n, self.rank, self.m).transpose(1, 0, 2)
        return result.reshape(self.rank, -1)


def _inner_products(vectors: Vectors, k: int) -> Float[np.ndarray, "rank rank"]:
    """Returns the inner products of the products of all factors but the k-th."""
    return np.atleast_2d(np.prod([v @ v.T for i, v in enumerate(vectors) if i != k], axis=0))


def _solve(
    curvature: Float[np.ndarray, "k k"], right: Float[np.ndarray, "k columns"]
) -> Float[np.ndarray, "k columns"]:
    """Solves the normal equations for a step; where they say nothing, the step is zero.

    A step from ``curvature`` plus a small positive multiple of the identity never raises the error.
    """
    scale = np.trace(curvature) / len(curvature)
    if scale <= _ZERO:
        return np.zeros_like(right)
    proximal = _PROXIMAL if curvature.dtype == np.float64 else _PROXIMAL_FLOAT32
    damped = curvature + proximal * scale * np.eye(len(curvature), dtype=curvature.dtype)
    return scipy.linalg.solve(damped, right, assume_a="pos", check_finite=False)


def _contract_others(tensor: Any, vectors: Vectors, k: int) -> Float[np.ndarray, "rank size"]:
    """Contracts every axis of ``tensor`` but the k-th with its vectors, rank by rank."""
    if len(vectors) == 1:
        return tensor[None]
    if len(vectors) == 2:  # what einsum does, but it thinks longer than small products take
        return vectors[0] @ tensor if k else vectors[1] @ tensor.T
    rank_axis = len(vectors)
    operands: list[Any] = [tensor, list(range(len(vectors)))]
    for other, vector in enumerate(vectors):
        if other != k:
            operands += [vector, [rank_axis, other]]
    return np.einsum(*operands, [rank_axis, k], optimize=True)


def _weighted_curvature(
    moment: Float[np.ndarray, "n n"], vectors: Vectors, shapes: Shape, k: int
) -> Float[np.ndarray, "k k"]:
    """Returns the matrix ``(rank*n_k, rank*n_k)`` of the weighted least squares for factor k.

    It is the same for every column of the factor: the moment, contracted over all other factors'
    rows with the other factors' inner products. Of the two orders of this contraction the one with
    less arithmetic is taken; inner products of all pairs of rows, the better one for factors of
    many rows, would fill the memory where it is the others that have many.
    """
    rank, n = len(vectors[k]), shapes[k][0]
    others = [i for i in range(len(shapes)) if i != k]
    rows = math.prod(shapes[i][0] for i in others)
    columns = math.prod(shapes[i][1] for i in others)
    other_shapes = tuple(shapes[i] for i in others)
    product = khatri_rao([vectors[i] for i in others])
    product = np.stack([restore(p, other_shapes) for p in product])  # (rank, rows, columns)

    sides = [s for s, _ in shapes]
    count = len(sides)
    axes = [k, count + k, *others, *(count + i for i in others)]
    weights = moment.reshape(*sides, *sides).transpose(axes)
    if n * n * columns * (rows + rank) < rank * rows * (columns + n * n):
        weights = weights.reshape(n, n, rows, rows)
        seen = np.tensordot(weights, product, (3, 1))  # (n, n, rows, rank, columns)
        curvature = np.tensordot(product, seen, ((1, 2), (2, 4)))  # (rank, n, n, rank)
        return curvature.transpose(0, 1, 3, 2).reshape(rank * n, rank * n)
    product = product.reshape(rank * rows, columns)
    inner = (product @ product.T).reshape(rank, rows, rank, rows)
    inner = inner.transpose(0, 2, 1, 3).reshape(rank * rank, rows * rows)
    curvature = (inner @ weights.reshape(n * n, rows * rows).T).reshape(rank, rank, n, n)
    return curvature.transpose(0, 2, 1, 3).reshape(rank * n, rank * n)


def _starts(target: Any, term: KroneckerTerm) -> Any:
    """Yields starts for ALS: nested singular value decompositions, then random ones."""
    yield _nested_start(target, term.rank)
    rng = np.random.default_rng(0)
    scale = (np.linalg.norm(target) / math.sqrt(term.rank)) ** (1 / term.num_factors)
    for _ in range(_RANDOM_STARTS):
        yield [
            scale / math.sqrt(size) * rng.standard_normal((term.rank, size))
            for size in target.shape
        ]


def _nested_start(target: Any, rank: int) -> list[Float[np.ndarray, "rank _"]]:
    """Splits off the first factor by a singular value decomposition, then the next from each.

    One decomposition gives as many products as the first axis is long; further ones come from
    what is left.
    """
    residual, found = target.copy(), []
    while rank > 0:
        count = min(rank, *np.shape(residual.reshape(len(target), -1)))
        u, s, vh = leading_singular(residual.reshape(len(target), -1), count)
        block = [[] for _ in target.shape]
        for r in range(count):
            block[0].append(u[:, r] * s[r])
            rest = vh[r].reshape(target.shape[1:])
            for k in range(1, target.ndim - 1):
                matrix = rest.reshape(len(rest), -1)
                first, value, last = leading_singular(matrix, 1)
                block[k].append(first[:, 0] * value[0])
                rest = last[0].reshape(rest.shape[1:])
            block[-1].append(rest)
        found.append([np.stack(rows) for rows in block])
        add_product(residual, found[-1], -1)
        rank -= count
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]
