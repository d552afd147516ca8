"""From a dense kernel to factors: the nearest Kronecker sum, or the nearest product of low rank.

The error that is minimised is the kernel's, ``||kernel - approx||`` (Frobenius norms throughout),
or, given sample inputs, that of the layer's output, ``||x @ (kernel - approx)||``.

- One term of two factors, no weights: the optimum, from the singular value decomposition of the
  rearranged kernel (Van Loan & Pitsianis, 1993).
- Several terms: the terms are fitted one after the other, each to what the others leave, with each
  of them once as the first; the best of these starts is then improved by sweeps over the terms.
- Three and more factors: the rearranged kernel is a tensor and the sum is its CP decomposition,
  found by alternating least squares (ALS) from several starts.
- Weights: ALS from the better of two starts, the decomposition without weights and the one that is
  the optimum if the second moment is a Kronecker product. A little of the kernel's own error
  (``shrinkage``) is minimised along with the output's: it decides where the inputs say little.

The error never rises from one sweep to the next. What a padded term is outside the kernel does not
count; sweeps over such terms fill the padding with what the term itself had there, so that the
padding does not pull at the fit (and the error still never rises). The work is done on the host in
float64.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from kfc_jax.rearrangement import Vectors, add_product, rearrange, restore
from kfc_jax.second_moment import second_moment_of
from kfc_jax.singular import leading_singular
from kfc_jax.structure import KroneckerSum, KroneckerTerm, Shape
from kfc_jax.term_fitting import alternate, canonical, fit_term, fit_term_weighted

_Terms = list[Vectors]  # the vectors of every term
_Kernel = Float[np.ndarray, "inputs features"]
_Moment = Float[np.ndarray, "inputs inputs"]

_NOTHING_LEFT = 1e-14  # a relative error of rounding alone


@dataclasses.dataclass(frozen=True)
class DecompositionReport:
    """How well a decomposition fits, and what it took.

    Attributes:
      relative_error: ``||kernel - approx|| / ||kernel||`` of the factors as returned, rounded to
        their type; 0 for a kernel of zeros.
      output_error: ``||x @ (kernel - approx)|| / ||x @ kernel||`` over the inputs that the
        decomposition was weighted by; None without.
      sweep_errors: what was minimised, at the start and after every sweep, before rounding: the
        first of the two, or the second with its ``shrinkage``. It never rises.
      converged: whether the last sweep lowered the error by less than the tolerance.
      num_parameters: entries of all factors.
      seconds: wall time.
    """

    relative_error: float
    output_error: float | None
    sweep_errors: tuple[float, ...]
    converged: bool
    num_parameters: int
    seconds: float


@dataclasses.dataclass(frozen=True, eq=False)
class Spectrum:
    """The singular values of a rearranged kernel.

    Attributes:
      singular_values: float64 ``(count,)``, falling: all of them, or the leading ones.
      norm: the kernel's Frobenius norm.
    """

    singular_values: Float[np.ndarray, " count"]
    norm: float

    @property
    def relative_errors(self) -> Float[np.ndarray, " count_and_one"]:
        """The least relative error for every rank from 0 to ``count``; zeros for a zero kernel."""
        squares = self.singular_values**2
        beyond = max(0.0, self.norm**2 - squares.sum())  # of the values that are not here
        if beyond < _NOTHING_LEFT * self.norm**2:
            beyond = 0.0
        tails = np.append(np.cumsum(squares[::-1])[::-1], 0.0) + beyond
        return np.sqrt(tails) / (self.norm or 1.0)


def nearest_kronecker_sum(
    kernel: Float[Array, "inputs features"],
    structure: KroneckerSum | str,
    *,
    inputs: Float[Array, "*batch inputs"] | None = None,
    second_moment: Float[Array, "inputs inputs"] | None = None,
    shrinkage: float = 0.01,
    max_sweeps: int = 100,
    tolerance: float = 1e-4,
) -> tuple[list[list[Float[Array, "rank rows columns"]]], DecompositionReport]:
    """Returns the factors whose sum of Kronecker products is nearest to ``kernel``.

    One term of two factors without weights or padding is the optimum. Everything else is improved
    by sweeps to a local optimum. It is no worse than the optimum of any one of the structure's
    terms of two factors alone, and, with weights, has no greater output error than without.

    The same arguments give the same factors: all factors of a product have equal norms, products
    are sorted by falling norm, and the largest entry of every factor but the last is positive. A
    kernel of lower rank gets factors near zero for the products that it does not need.

    Example::

      >>> import jax, jax.numpy as jnp
      >>> from kfc_jax import materialize, nearest_kronecker_sum
      >>> kernel = jnp.kron(jnp.ones((2, 3)), jnp.arange(8.0).reshape(4, 2))
      >>> factors, report = nearest_kronecker_sum(kernel, "1:2x3*4x2")
      >>> jax.tree.map(jnp.shape, factors)
      [[(1, 2, 3), (1, 4, 2)]]
      >>> bool(jnp.allclose(materialize(factors), kernel, atol=1e-5))
      True

    Args:
      kernel: the dense kernel, of any floating type.
      structure: the structure or its text form; terms may be padded as in ``KFCDense``.
      inputs: samples of the layer's inputs: minimise the error of its output on them.
      second_moment: the same, from ``x.T @ x / len(x)`` instead of the samples.
      shrinkage: weight of the kernel's error beside the output's, as a fraction of the inputs' mean
        square. At 0, the factors may be huge in directions in which the samples hardly vary, and
        other inputs do. The default costs little: on a 784x512 layer of an MNIST network, under
        0.5% of the output error on 8,000 samples, and 1.4% on 400, where it lowered the output
        error on other inputs by up to 2.3%.
      max_sweeps: most sweeps.
      tolerance: sweeps end when one lowers the error by less than this fraction of it.

    Returns:
      For every term a list of factors ``(rank, n_k, m_k)`` of the kernel's type, as
      ``kronecker_matmul`` takes them, and a report.

    Raises:
      ValueError: if the structure does not fit the kernel, or a number is out of range.
    """
    started = time.perf_counter()
    dtype = _check_kernel(kernel)
    if isinstance(structure, str):
        structure = KroneckerSum.parse(structure)
    structure = structure.fit(*np.shape(kernel))
    if max_sweeps < 0 or not 0 <= tolerance < 1:
        raise ValueError(
            f"Got max_sweeps={max_sweeps} and tolerance={tolerance}: sweeps are 0 or more, the "
            "tolerance is a fraction from 0 to below 1."
        )
    if not 0 <= shrinkage < math.inf:
        raise ValueError(f"Got shrinkage={shrinkage}: it is 0 or more, 0.01 as a rule.")
    moment = second_moment_of(inputs, second_moment, structure.inputs)

    fit = _Fit(kernel, structure, max_sweeps, tolerance)
    terms, errors, converged = fit.plain()
    if moment is not None:
        terms, errors, converged = fit.weighted(moment, shrinkage, terms)
    terms = [canonical(vectors) for vectors in terms]
    factors = [
        [
            jnp.asarray(v.reshape(term.rank, n, m), dtype)
            for v, (n, m) in zip(vectors, term.shapes, strict=True)
        ]
        for term, vectors in zip(structure.terms, terms, strict=True)
    ]
    report = _report(kernel, structure, factors, moment, errors, converged, started)
    return factors, report


def low_rank(
    kernel: Float[Array, "inputs features"],
    rank: int,
    *,
    inputs: Float[Array, "*batch inputs"] | None = None,
    second_moment: Float[Array, "inputs inputs"] | None = None,
) -> tuple[tuple[Float[Array, "inputs rank"], Float[Array, "rank features"]], DecompositionReport]:
    """Returns the thin matrices ``u, v`` whose product is nearest to ``kernel``.

    It is the optimum, with and without weights. The columns of ``u`` and the rows of ``v`` have
    equal norms, sorted as in ``nearest_kronecker_sum``.

    Args:
      kernel: the dense kernel, of any floating type.
      rank: columns of ``u``.
      inputs: samples of the layer's inputs: minimise the error of its output on them.
      second_moment: the same, from ``x.T @ x / len(x)`` instead of the samples.

    Returns:
      The matrices, in the kernel's type, and a report.

    Raises:
      ValueError: if the rank is not from 1 to the kernel's smaller side, or a number is out of
        range.
    """
    started = time.perf_counter()
    dtype = _check_kernel(kernel)
    rows, columns = np.shape(kernel)
    if not 1 <= rank <= min(rows, columns):
        raise ValueError(
            f"Got rank={rank} for a kernel of {rows}x{columns}, whose full rank is "
            f"{min(rows, columns)}: take a rank from 1 to {min(rows, columns)}."
        )
    moment = second_moment_of(inputs, second_moment, rows)
    structure = KroneckerSum((KroneckerTerm(((rows, 1), (1, columns)), rank),))
    matrix = _float64(kernel)
    if moment is None:
        u, s, vh = leading_singular(matrix, rank)
        u = u * s
    else:
        # The best approximation of the output is its projection on its leading right singular
        # vectors, and this is linear in the inputs.
        values, vectors = scipy.linalg.eigh(moment, check_finite=False)
        root = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
        _, _, vh = leading_singular(root @ matrix, rank)
        u = matrix @ vh.T
    u, v = canonical([u.T, vh])
    u, v = jnp.asarray(u.T, dtype), jnp.asarray(v, dtype)
    factors = [[u.T[:, :, None], v[:, None, :]]]
    errors = ()
    return (u, v), _report(kernel, structure, factors, moment, errors, True, started)


def spectrum(
    kernel: Float[Array, "inputs features"], shape: Shape | str, *, max_rank: int | None = None
) -> Spectrum:
    """Returns the singular values that give the error of every rank of one shape at once.

    Example::

      >>> import jax.numpy as jnp
      >>> from kfc_jax import spectrum
      >>> kernel = jnp.kron(jnp.eye(2), jnp.ones((3, 2)))
      >>> kernel += jnp.kron(jnp.ones((2, 2)), jnp.eye(3, 2))
      >>> spectrum(kernel, "2x2*3x2").relative_errors.round(3)[:4].tolist()
      [1.0, 0.206, 0.0, 0.0]

    Args:
      kernel: the dense kernel, of any floating type.
      shape: the shapes of two factors, or their text form. ``((n, 1), (1, m))`` is low rank. If
        padded, zeros are put around the kernel, so that the errors are upper bounds.
      max_rank: number of leading singular values. Default: all, which takes minutes for the
        largest kernels.

    Raises:
      ValueError: if the shape does not have two factors or does not fit, or ``max_rank`` is below
        1, or the kernel has numbers that are not finite.
    """
    _check_kernel(kernel)
    if isinstance(shape, str):
        terms = KroneckerSum.parse(shape).terms
        shape = terms[0].shapes if len(terms) == 1 else ()
    if len(shape) != 2:
        raise ValueError(
            f"A spectrum needs one shape of two factors, for example '28x32*28x32'; got {shape}."
        )
    structure = KroneckerSum((KroneckerTerm(shape),), *np.shape(kernel))
    term = structure.terms[0]
    if max_rank is not None and max_rank < 1:
        raise ValueError(f"Got max_rank={max_rank}: take at least 1, or leave it out for all.")
    matrix = _tensor(_float64(kernel), term)
    norm = float(np.linalg.norm(matrix))
    if max_rank is None or max_rank >= term.max_rank:
        return Spectrum(scipy.linalg.svdvals(matrix, overwrite_a=True, check_finite=False), norm)
    return Spectrum(leading_singular(matrix, max_rank)[1], norm)


class _Fit:
    """The sweeps over the terms of one kernel.

    ``residual`` is always the kernel minus all terms, ``(inputs, features)``, updated in place.
    """

    def __init__(
        self, kernel: Any, structure: KroneckerSum, max_sweeps: int, tolerance: float
    ) -> None:
        self.kernel, self.structure = kernel, structure
        self.max_sweeps, self.tolerance = max_sweeps, tolerance

    def plain(self) -> tuple[_Terms, list[float], bool]:
        """Returns the terms, the error at the start and after each sweep, and if it converged."""
        terms, residual = self._start(fit_term, np.linalg.norm)
        only = self.structure.terms[0]
        if len(terms) == 1 and only.num_factors <= 2 and not self.structure.is_padded:
            error, norm = (np.linalg.norm(a) for a in (residual, _float64(self.kernel)))
            return terms, [_ratio(error, norm)], True

        def resolve(term: KroneckerTerm, tensor: Any, vectors: Vectors) -> Vectors:
            if term.num_factors > 2:
                return alternate(tensor, vectors, term.shapes)
            add_product(tensor, vectors)
            vectors = fit_term(tensor, term)
            add_product(tensor, vectors, -1)
            return vectors

        return self._sweep(terms, residual, resolve, np.linalg.norm)

    def weighted(
        self, moment: _Moment, shrinkage: float, plain: _Terms
    ) -> tuple[_Terms, list[float], bool]:
        """The same for the error of the output, never above that of the terms ``plain``."""
        weights = moment + shrinkage * np.trace(moment) / len(moment) * np.eye(len(moment))
        padded = {term.inputs: _padded(weights, term.inputs) for term in self.structure.terms}

        def fit(tensor: Any, term: KroneckerTerm) -> Vectors:
            return fit_term_weighted(tensor, term, padded[term.inputs])

        def resolve(term: KroneckerTerm, tensor: Any, vectors: Vectors) -> Vectors:
            return alternate(tensor, vectors, term.shapes, padded[term.inputs])

        error = functools.partial(_output_norm, weights)
        terms, residual = self._start(fit, error)
        plain_residual = _residual(self.kernel, self.structure, plain)
        bound = _output_norm(moment, plain_residual)
        if error(plain_residual) <= error(residual):
            terms, residual = plain, plain_residual
        terms, errors, converged = self._sweep(terms, residual, resolve, error)
        if _output_norm(moment, _residual(self.kernel, self.structure, terms)) > bound:
            # It gained on the kernel's own error alone: ``plain`` was a poor local optimum.
            return plain, [_ratio(error(plain_residual), error(_float64(self.kernel)))], converged
        return terms, errors, converged

    def _start(
        self, fit: Callable[[Any, KroneckerTerm], Vectors], error: Callable[[_Kernel], float]
    ) -> tuple[_Terms, _Kernel]:
        """Fits each term to what those before it leave, with every term once as the first."""
        count = len(self.structure.terms)
        best, least = None, math.inf
        for first in range(count):
            terms: _Terms = [()] * count
            residual = _float64(self.kernel)
            for t in [first, *(t for t in range(count) if t != first)]:
                term = self.structure.terms[t]
                tensor = _tensor(residual, term)
                terms[t] = fit(tensor, term)
                add_product(tensor, terms[t], -1)
                restore(tensor, term.shapes, out=residual)
            if (now := error(residual)) < least or best is None:
                best, least = (terms, residual), now
        return best

    def _sweep(
        self,
        terms: _Terms,
        residual: _Kernel,
        resolve: Callable[[KroneckerTerm, Any, Vectors], Vectors],
        error: Callable[[_Kernel], float],
    ) -> tuple[_Terms, list[float], bool]:
        """Re-solves the terms in turn, given the others, until the error stops falling.

        ``resolve`` gets a term, its residual rearranged, which it updates, and its vectors.
        """
        norm = error(_float64(self.kernel))
        errors = [_ratio(error(residual), norm)]
        for _ in range(self.max_sweeps):
            if errors[-1] <= _NOTHING_LEFT:
                return terms, errors, True
            before, terms = terms, list(terms)
            for t, term in enumerate(self.structure.terms):
                tensor = _tensor(residual, term)
                terms[t] = resolve(term, tensor, terms[t])
                restore(tensor, term.shapes, out=residual)
            now = _ratio(error(residual), norm)
            if now > errors[-1]:  # rounding, at the optimum
                return before, errors, True
            errors.append(now)
            if errors[-2] - now <= self.tolerance * errors[-2]:
                return terms, errors, True
        return terms, errors, False


def _check_kernel(kernel: Any) -> Any:
    """Returns the type that factors will have.

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


def _float64(kernel: Any) -> _Kernel:
    return np.array(kernel, np.float64, order="C")


def _padded(array: Any, rows: int, columns: int | None = None) -> Any:
    columns = rows if columns is None else columns
    if array.shape == (rows, columns):
        return array
    return np.pad(array, ((0, rows - array.shape[0]), (0, columns - array.shape[1])))


def _tensor(kernel: _Kernel, term: KroneckerTerm) -> Float[np.ndarray, "*axes"]:
    """Returns a kernel as a term sees it: padded with zeros and rearranged, always a copy."""
    tensor = rearrange(_padded(kernel, term.inputs, term.features), term.shapes)
    return tensor.copy() if np.shares_memory(tensor, kernel) else tensor


def _residual(kernel: Any, structure: KroneckerSum, terms: Sequence[Vectors]) -> _Kernel:
    """Returns the kernel minus all terms."""
    residual = _float64(kernel)
    for term, vectors in zip(structure.terms, terms, strict=True):
        tensor = _tensor(residual, term)
        add_product(tensor, vectors, -1)
        restore(tensor, term.shapes, out=residual)
    return residual


def _output_norm(moment: _Moment, kernel: _Kernel) -> float:
    """Returns the root mean square of ``||x @ kernel||`` over inputs of this second moment."""
    return math.sqrt(max(0.0, np.vdot(kernel, moment @ kernel)))


def _ratio(error: float, norm: float) -> float:
    return float(error / norm) if norm > 0 else 0.0


def _report(
    kernel: Any,
    structure: KroneckerSum,
    factors: Sequence[Sequence[Array]],
    moment: _Moment | None,
    errors: Sequence[float],
    converged: bool,
    started: float,
) -> DecompositionReport:
    terms = [[np.asarray(f, np.float64).reshape(len(f), -1) for f in arrays] for arrays in factors]
    residual = _residual(kernel, structure, terms)
    relative_error = _ratio(np.linalg.norm(residual), np.linalg.norm(_float64(kernel)))
    output_error = None
    if moment is not None:
        output_error = _ratio(
            _output_norm(moment, residual), _output_norm(moment, _float64(kernel))
        )
    chosen = relative_error if moment is None else output_error
    return DecompositionReport(
        relative_error=relative_error,
        output_error=output_error,
        sweep_errors=tuple(errors) or (chosen,),
        converged=converged,
        num_parameters=structure.num_parameters,
        seconds=time.perf_counter() - started,
    )
