"""The order of a layer's outputs in which its kernel is nearest to a sum of Kronecker products.

The order of hidden units is arbitrary: a network computes the same if a layer's outputs are
permuted and the next layer's inputs with them (activations act unit by unit). A sum of Kronecker
products is not: it lays its outputs out on a grid, and expects neighbours to be alike. So the order
is free to be chosen, and costs nothing.

Given factors, the best order is a linear assignment: unit j in place i costs the error of column j
of the kernel as column i of the sum. Given an order, sweeps improve the factors. The two take
turns; neither raises the error.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from jaxtyping import Array, Float, Int

from kfc_jax.decompose.fit_sum import (
    DEFAULT_SHRINKAGE,
    Kernel,
    KernelFit,
    Moment,
    Terms,
    check_kernel,
    residual_of,
    shrunk,
    to_float64,
)
from kfc_jax.decompose.input_statistics import InputStatistics, Samples, second_moment_of
from kfc_jax.structures import KroneckerStructure

_Order = Int[np.ndarray, " features"]


def unit_order(
    kernel: Float[Array | np.ndarray, "inputs features"],
    structure: KroneckerStructure | str,
    *,
    statistics: InputStatistics | Samples | None = None,
    shrinkage: float = DEFAULT_SHRINKAGE,
    max_rounds: int = 100,
    tolerance: float = 1e-3,
) -> Int[np.ndarray, " features"]:
    """Returns an order with which ``kernel[:, order]`` is nearer to a sum of the structure.

    The error is that of ``nearest_kronecker_sum`` with the same arguments. The search starts twice:
    from the present order, and from the order along the outputs' leading principal component. It
    returns the better result, or the present order if neither lowers the error. So
    ``nearest_kronecker_sum``, with its default sweeps, is never worse with the new order. A bias
    has to be permuted likewise, and so have the rows of the layer that reads the outputs.

    Example::

      >>> import numpy as np
      >>> from kfc_jax import nearest_kronecker_sum, unit_order
      >>> rng = np.random.default_rng(0)
      >>> kernel = np.kron(rng.normal(size=(3, 4)), rng.normal(size=(5, 4)))
      >>> mixed = kernel[:, rng.permutation(16)].astype(np.float32)
      >>> before = nearest_kronecker_sum(mixed, "1:3x4*5x4")[1].relative_error
      >>> order = unit_order(mixed, "1:3x4*5x4")
      >>> bool(nearest_kronecker_sum(mixed[:, order], "1:3x4*5x4")[1].relative_error < before)
      True

    Args:
      kernel: the dense kernel ``(inputs, features)``, of any floating type.
      structure: the structure or its text form.
      statistics: what the layer sees, as in ``nearest_kronecker_sum``.
      shrinkage: the weight of the kernel's own error, as in ``nearest_kronecker_sum``.
      max_rounds: the largest number of rounds of an assignment and a sweep, from each start.
      tolerance: the rounds end when one lowers the error by less than this fraction of it.

    Returns:
      The indices of the kernel's columns in their new order, int64 ``(features,)``.

    Raises:
      ValueError: if the kernel is no matrix of finite numbers, or the structure or the inputs do
        not fit it.
    """
    check_kernel(kernel)
    if isinstance(structure, str):
        structure = KroneckerStructure.parse(structure)
    structure = structure.fit(*np.shape(kernel))
    moment = second_moment_of(statistics, structure.inputs)
    search = _Search(to_float64(kernel), structure, moment, shrinkage)
    unchanged = np.arange(structure.features)
    starts = (unchanged, np.argsort(search.strongest_direction(), kind="stable"))
    found = [search.improve(start, max_rounds, tolerance) for start in starts]
    order, _ = min(found, key=lambda one: one[1])
    return min(unchanged, order, key=search.converged_error)


class _Search:
    """One kernel's search; errors are relative."""

    def __init__(
        self, kernel: Kernel, structure: KroneckerStructure, moment: Moment | None, shrinkage: float
    ) -> None:
        self.kernel, self.structure = kernel, structure
        self.moment, self.shrinkage = moment, shrinkage
        self.weights = None if moment is None else shrunk(moment, shrinkage)
        self.weighted_kernel = kernel if moment is None else self.weights @ kernel

    def strongest_direction(self) -> Float[np.ndarray, " features"]:
        """Returns how far each unit takes part in the outputs' leading principal component."""
        last = self.structure.features - 1
        products = self.kernel.T @ self.weighted_kernel
        return scipy.linalg.eigh(products, subset_by_index=[last, last])[1][:, 0]

    def improve(self, order: _Order, max_rounds: int, tolerance: float) -> tuple[_Order, float]:
        """Returns the order that assignments and sweeps in turn lead to, and its error."""
        terms, error = self._fit(order, max_sweeps=1)
        for _ in range(max_rounds):
            candidate = self._assign(order, terms)
            fit = self._kernel_fit(candidate, 1, 0.0)
            terms, errors, _ = fit.improved(terms, self.weights)
            before, error, order = error, errors[-1], candidate
            if before - error <= tolerance * before:
                break
        return order, error

    def converged_error(self, order: _Order) -> float:
        """Returns the error that `nearest_kronecker_sum` finds for an order."""
        return self._fit(order, max_sweeps=100)[1]

    def _fit(self, order: _Order, max_sweeps: int) -> tuple[Terms, float]:
        fit = self._kernel_fit(order, max_sweeps, 1e-4)
        terms, errors, _ = fit.plain()
        if self.moment is not None:
            terms, errors, _ = fit.weighted(self.moment, self.shrinkage, terms)
        return terms, errors[-1]

    def _kernel_fit(self, order: _Order, max_sweeps: int, tolerance: float) -> KernelFit:
        return KernelFit(
            self.kernel[:, order],
            self.structure,
            max_sweeps,
            tolerance,
            self.weighted_kernel[:, order],
        )

    def _assign(self, order: _Order, terms: Terms) -> _Order:
        """Returns the best order for these terms, which were fitted to another one."""
        # Here, as it would add a fifth to the time that `import kfc_jax` takes.
        from scipy.optimize import linear_sum_assignment

        ordered = self.kernel[:, order]
        approx = ordered - residual_of(ordered, self.structure, terms)
        weighted = approx if self.weights is None else self.weights @ approx
        # Place by unit: the squared error, less what a unit adds in every place.
        costs = np.sum(approx * weighted, 0)[:, None] - 2 * approx.T @ self.weighted_kernel
        return linear_sum_assignment(costs)[1]
