"""What a layer may become: one structure for all its kernels, which are one or a stack."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from kfc_jax.compress.allocation import Front
from kfc_jax.compress.model_layers import Layer
from kfc_jax.compress.options import Choice, KernelOptions
from kfc_jax.compress.plan import LayerPlan


class LayerOptions:
    """The options of a layer: those that all its kernels have.

    The squared error of an option is the sum of those of the kernels, as if they were layers of
    their own.

    Attributes:
      path: the path of the layer.
      min_cost: the lowest cost of any option.
    """

    def __init__(self, layer: Layer, kernels: Sequence[KernelOptions]) -> None:
        """Takes the options of the kernels, one after the other."""
        self.path, self._layer, self._kernels = layer.path, layer, kernels
        self.min_cost = len(kernels) * kernels[0].min_cost

    def cost_of(self, choice: Choice) -> int:
        """Returns what an option costs."""
        return len(self._kernels) * self._kernels[0].cost_of(choice)

    def estimate(self, limit: int | None) -> None:
        """Estimates the error of all options that cost at most ``limit``."""
        for kernel in self._kernels:
            kernel.estimate(None if limit is None else limit // len(self._kernels))

    def compare(self, cost: int) -> None:
        """Corrects the estimates of the most promising shapes by a few sweeps, at this cost."""
        for kernel in self._kernels:
            kernel.compare(cost // len(self._kernels))

    def front(self, *, measured: bool) -> tuple[Front, list[Choice]]:
        """Returns the options' front and what its choices mean."""
        costs: dict[Choice, int] = {}
        squares: dict[Choice, list[float]] = {}
        for kernel in self._kernels:
            for choice, cost, square in zip(*kernel.known(measured=measured), strict=True):
                costs[choice] = len(self._kernels) * cost
                squares.setdefault(choice, []).append(square)
        choices = [choice for choice in costs if len(squares[choice]) == len(self._kernels)]
        front = Front.of([costs[c] for c in choices], [math.fsum(squares[c]) for c in choices])
        return front, choices

    def measure(self, choice: Choice) -> bool:
        """Finds the true error of an option; returns whether it was unknown."""
        return any([kernel.measure(choice) for kernel in self._kernels])

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
