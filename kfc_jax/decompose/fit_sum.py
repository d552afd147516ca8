"""Fitting all terms of a sum to one kernel: starts, and sweeps over the terms.

All is float64 on the host; what the sweeps minimise is described in ``kfc_jax.decompose.nearest``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from kfc_jax.decompose.fit_term import (
    alternate,
    alternate_on_gradient,
    error_reduction,
    fit_term,
    fit_term_weighted,
)
from kfc_jax.decompose.rearrangement import Vectors, add_product, rearrange, restore
from kfc_jax.structures import KroneckerStructure, KroneckerTerm

Terms = list[Sequence[Float[np.ndarray, "_ _"]]]  # the vectors of every term
Kernel = Float[np.ndarray, "inputs features"]
Moment = Float[np.ndarray, "inputs inputs"]

DEFAULT_SHRINKAGE = 0.01
"""The weight of the kernel's own error beside the output's, relative to the inputs' mean square."""

NOTHING_LEFT = 1e-14  # a relative error of rounding alone
_LITTLE_LEFT = 1e-2  # below it, squared errors that are differences are not exact enough


class KernelFit:
    """The starts of, and the sweeps over, the terms of one kernel.

    ``weighted_kernel`` is the weights' product with the kernel, if it is known already.
    """

    def __init__(
        self,
        kernel: Any,
        structure: KroneckerStructure,
        max_sweeps: int,
        tolerance: float,
        weighted_kernel: Kernel | None = None,
    ) -> None:
        self.kernel, self.structure = kernel, structure
        self.max_sweeps, self.tolerance = max_sweeps, tolerance
        self.weighted_kernel = weighted_kernel

    def plain(self) -> tuple[Terms, list[float], bool]:
        """Returns the terms, the error at the start and after every sweep, and if it converged."""
        terms, residual = self._start(fit_term, frobenius_norm)
        only = self.structure.terms[0]
        if len(terms) == 1 and only.num_factors <= 2 and not self.structure.is_padded:
            error, norm = (frobenius_norm(a) for a in (residual, to_float64(self.kernel)))
            return terms, [ratio(error, norm)], True
        return self._sweep(terms, residual, None)

    def weighted(
        self, moment: Moment, shrinkage: float, plain: Terms
    ) -> tuple[Terms, list[float], bool]:
        """Returns what `plain` does, for the error of the output.

        It is never above that of the terms ``plain``.
        """
        weights = shrunk(moment, shrinkage)

        def fit(tensor: Any, term: KroneckerTerm) -> Vectors:
            return fit_term_weighted(tensor, term, _padded(weights, term.inputs))

        error = functools.partial(output_norm, weights)
        terms, residual = self._start(fit, error)
        plain_residual = residual_of(self.kernel, self.structure, plain)
        bound = output_norm(moment, plain_residual)
        if error(plain_residual) <= error(residual):
            terms, residual = plain, plain_residual
        terms, errors, converged = self._sweep(terms, residual, weights)
        if output_norm(moment, residual_of(self.kernel, self.structure, terms)) > bound:
            # It gained on the kernel's own error alone: ``plain`` was a poor local optimum.
            return plain, [ratio(error(plain_residual), error(to_float64(self.kernel)))], converged
        return terms, errors, converged

    def improved(
        self, terms: Terms, weights: Moment | None = None
    ) -> tuple[Terms, list[float], bool]:
        """Returns what `plain` does, by sweeps from ``terms``.

        The error is the kernel's or, with ``weights``, the output's.
        """
        return self._sweep(terms, None, weights)

    def _start(
        self, fit: Callable[[Any, KroneckerTerm], Vectors], error: Callable[[Kernel], float]
    ) -> tuple[Terms, Kernel]:
        """Fits each term to what those before it leave, with every term once as the first."""
        count = len(self.structure.terms)
        best: tuple[Terms, Kernel] | None = None
        lowest = math.inf
        for first in range(count):
            terms: Terms = [()] * count
            residual = to_float64(self.kernel)
            for t in [first, *(t for t in range(count) if t != first)]:
                term = self.structure.terms[t]
                tensor = to_tensor(residual, term)
                terms[t] = fit(tensor, term)
                add_product(tensor, terms[t], -1)
                restore(tensor, term.shapes, out=residual)
            if (now := error(residual)) < lowest or best is None:
                best, lowest = (terms, residual), now
        assert best is not None  # a structure has a term
        return best

    def _sweep(
        self, terms: Terms, residual: Kernel | None, weights: Moment | None
    ) -> tuple[Terms, list[float], bool]:
        """Re-solves the terms in turn, given the others, until the error stops falling.

        ``residual`` is always the kernel minus all terms, updated in place (None: not yet known).
        """
        earlier: list[float] = []
        if weights is None:
            error: Callable[[Kernel], float] = frobenius_norm
            norm = frobenius_norm(to_float64(self.kernel))
        else:
            error, kernel = functools.partial(output_norm, weights), to_float64(self.kernel)
            if self.weighted_kernel is None:
                self.weighted_kernel = weights @ kernel
            norm = math.sqrt(max(0.0, np.vdot(kernel, self.weighted_kernel)))
            if len(terms) == 1 and not self.structure.is_padded and norm > 0:
                terms, errors, converged = self._sweep_one(terms[0], weights, norm)
                if errors[-1] > _LITTLE_LEFT:
                    return terms, errors, converged
                earlier, residual = errors[:-1], None
        if residual is None:
            residual = residual_of(self.kernel, self.structure, terms)
        errors = [*earlier, ratio(error(residual), norm)]
        for _ in range(self.max_sweeps - len(earlier)):
            if errors[-1] <= NOTHING_LEFT:
                return terms, errors, True
            before, terms = terms, list(terms)
            for t, term in enumerate(self.structure.terms):
                tensor = to_tensor(residual, term)
                terms[t] = _resolve(term, tensor, terms[t], weights)
                restore(tensor, term.shapes, out=residual)
            now = ratio(error(residual), norm)
            if now > errors[-1]:  # rounding, at the optimum
                return before, errors, True
            errors.append(now)
            if errors[-2] - now <= self.tolerance * errors[-2]:
                return terms, errors, True
        return terms, errors, False

    def _sweep_one(
        self, vectors: Vectors, weights: Moment, norm: float
    ) -> tuple[Terms, list[float], bool]:
        """Does what `_sweep` does for one term with weights, much faster.

        It ends where so little is left that rounding would count.
        """
        (term,) = self.structure.terms
        assert self.weighted_kernel is not None  # as there are weights
        gradient = to_tensor(self.weighted_kernel, term)

        def error(reduction: float) -> float:
            return ratio(math.sqrt(max(0.0, norm**2 - reduction)), norm)

        errors = [error(error_reduction(gradient, vectors, term.shapes, weights))]
        for _ in range(self.max_sweeps):
            if errors[-1] <= _LITTLE_LEFT:
                break
            new, reduction = alternate_on_gradient(gradient, vectors, term.shapes, weights)
            now = error(reduction)
            if now > errors[-1]:  # rounding, at the optimum
                return [vectors], errors, True
            vectors = new
            errors.append(now)
            if errors[-2] - now <= self.tolerance * errors[-2]:
                return [vectors], errors, True
        return [vectors], errors, False


def _resolve(term: KroneckerTerm, tensor: Any, vectors: Vectors, weights: Moment | None) -> Vectors:
    """Returns the term's new vectors; ``tensor``, its residual rearranged, is updated."""
    if weights is not None:
        return alternate(tensor, vectors, term.shapes, _padded(weights, term.inputs))
    if term.num_factors > 2:
        return alternate(tensor, vectors, term.shapes)
    add_product(tensor, vectors)
    vectors = fit_term(tensor, term)
    add_product(tensor, vectors, -1)
    return vectors


def shrunk(moment: Moment, shrinkage: float) -> Moment:
    """Returns the weights with which a little of the kernel's own error counts, too."""
    return moment + shrinkage * np.trace(moment) / len(moment) * np.eye(len(moment))


def check_kernel(kernel: Any) -> Any:
    """Returns the type that a kernel's factors will have.

    Raises:
      ValueError: if the kernel is not a finite floating matrix.
    """
    dtype = getattr(kernel, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating) or np.ndim(kernel) != 2:
        raise ValueError(
            f"The kernel must be a matrix (inputs, features) of floating numbers; got shape "
            f"{np.shape(kernel)} of {dtype or type(kernel).__name__}."
        )
    if 0 in np.shape(kernel):
        raise ValueError(f"The kernel of shape {np.shape(kernel)} has no entries.")
    bad = np.argwhere(~np.isfinite(np.asarray(kernel)))
    if len(bad):
        raise ValueError(
            f"The kernel has {len(bad)} entries that are NaN or infinite, the first at "
            f"{tuple(map(int, bad[0]))}: take a checkpoint from before the training diverged."
        )
    return jax.dtypes.canonicalize_dtype(dtype)


def to_float64(kernel: Any) -> Kernel:
    """Returns a copy in float64."""
    return np.array(kernel, np.float64, order="C")


def _padded(array: Any, rows: int, columns: int | None = None) -> Any:
    columns = rows if columns is None else columns
    if array.shape == (rows, columns):
        return array
    return np.pad(array, ((0, rows - array.shape[0]), (0, columns - array.shape[1])))


def to_tensor(kernel: Kernel, term: KroneckerTerm) -> Float[np.ndarray, "*axes"]:
    """Returns a kernel as a term sees it: padded with zeros and rearranged.

    It is always a copy, and contiguous: of factors with sides of 1, rearranging may give a view.
    """
    tensor = rearrange(_padded(kernel, term.inputs, term.features), term.shapes)
    return tensor.copy() if np.shares_memory(tensor, kernel) else np.ascontiguousarray(tensor)


def residual_of(
    kernel: Any,
    structure: KroneckerStructure,
    terms: Sequence[Sequence[Float[np.ndarray, "_ _"]]],
) -> Kernel:
    """Returns the kernel minus all terms."""
    residual = to_float64(kernel)
    for term, vectors in zip(structure.terms, terms, strict=True):
        tensor = to_tensor(residual, term)
        add_product(tensor, vectors, -1)
        restore(tensor, term.shapes, out=residual)
    return residual


def output_norm(moment: Moment, kernel: Kernel) -> float:
    """Returns the root mean square of ``||x @ kernel||`` over inputs of this second moment."""
    return math.sqrt(max(0.0, np.vdot(kernel, moment @ kernel)))


def frobenius_norm(kernel: Kernel) -> float:
    """Returns the root of the sum of squared entries."""
    return float(np.linalg.norm(kernel))


def ratio(error: float, norm: float) -> float:
    """Returns the relative error, 0 for a norm of 0."""
    return float(error / norm) if norm > 0 else 0.0
