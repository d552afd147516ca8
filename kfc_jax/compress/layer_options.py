"""What a layer may become: one structure for all its kernels, which are one or a stack."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from kfc_jax.compress.allocation import Front
from kfc_jax.compress.model_layers import Layer
from kfc_jax.compress.options import Choice, KernelOptions
from kfc_jax.compress.plan import LayerPlan
from kfc_jax.compress.progress import Progress


class LayerOptions:
    """The options of a layer: those that all its kernels have.

    The squared error of an option is the sum of those of the kernels, as if they were layers of
    their own.

    Attributes:
      path: the path of the layer.
      size: the number of entries of all kernels.
      min_cost: the lowest cost of any option.
    """

    def __init__(self, layer: Layer, kernels: Sequence[KernelOptions]) -> None:
        """Takes the options of the kernels, one after the other."""
        self.path, self._layer, self._kernels = layer.path, layer, kernels
        self.min_cost = len(kernels) * kernels[0].min_cost
        self.size = sum(kernel.size for kernel in kernels)

    def cost_of(self, choice: Choice) -> int:
        """Returns what an option costs."""
        return len(self._kernels) * self._kernels[0].cost_of(choice)

    def estimate(self, limit: int | None, likely: int, progress: Progress, share: float) -> None:
        """Estimates the error of options, as `KernelOptions.estimate` does."""
        count = len(self._kernels)
        for kernel in self._kernels:
            limit_of_one = None if limit is None else limit // count
            kernel.estimate(limit_of_one, math.ceil(likely / count), progress, share)

    def compare(self, cost: int, progress: Progress) -> None:
        """Corrects the estimates of the most promising shapes by a few sweeps, at this cost."""
        for kernel in self._kernels:
            kernel.compare(cost // len(self._kernels), progress)

    @property
    def kept_bytes(self) -> int:
        """The size of what is kept if `keep_found` says so."""
        return sum(kernel.kept_bytes for kernel in self._kernels)

    def keep_found(self, keeps: bool) -> None:
        """Says whether large matrices are kept, so that they need not be found again."""
        for kernel in self._kernels:
            kernel.keeps = keeps

    def front(self, *, measured: bool, nearly: bool) -> tuple[Front, Int[np.ndarray, "options 2"]]:
        """Returns the options' front and what its choices mean.

        All options, or only those of which the error is known, or a bound of it; with ``nearly``
        also those next to them.
        """
        found = [kernel.known(measured=measured, nearly=nearly) for kernel in self._kernels]
        if len(found) == 1:
            choices, costs, squares = found[0]
            return Front.of(costs, squares), choices
        sums: dict[Choice, list[float]] = {}
        for choices, _, squares in found:
            for (index, rank), square in zip(choices.tolist(), squares.tolist(), strict=True):
                sums.setdefault((index, rank), []).append(square)
        common = [choice for choice, squares in sums.items() if len(squares) == len(found)]
        costs = [self.cost_of(choice) for choice in common]
        squares = [math.fsum(sums[choice]) for choice in common]
        return Front.of(costs, squares), np.array(common, int).reshape(-1, 2)

    def release(self) -> None:
        """Forgets what a later question finds again, if it is large."""
        for kernel in self._kernels:
            kernel.release()

    def measure(self, choice: Choice, *, nearly: bool) -> bool:
        """Finds the true error of an option; returns whether it was unknown."""
        return any([kernel.measure(choice, nearly=nearly) for kernel in self._kernels])

    def plan(self, choice: Choice) -> LayerPlan:
        """Returns the plan of an option, with its true errors."""
        plans = [kernel.plan(choice) for kernel in self._kernels]
        outputs = [plan.output_error for plan in plans if plan.output_error is not None]
        return dataclasses.replace(
            LayerPlan.of(self._layer, plans[0].structure),
            relative_error=_mean([plan.relative_error for plan in plans]),
            output_error=_mean(outputs) if len(outputs) == len(plans) else None,
        )


def _mean(errors: Sequence[float]) -> float:
    if len(errors) == 1:
        return errors[0]
    return math.sqrt(math.fsum(error**2 for error in errors) / len(errors))
