"""What a layer may become: one structure for all its kernels, which are one or a stack."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from kfc_jax.compress.allocation import Front
from kfc_jax.compress.kernel_energies import KernelEnergies
from kfc_jax.compress.model_layers import Layer
from kfc_jax.compress.options import Choice, KernelOptions
from kfc_jax.compress.plan import LayerPlan
from kfc_jax.compress.tasks import Task


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

    @property
    def is_too_small(self) -> bool:
        """Whether there is no structure that makes the layer smaller and faster."""
        return self._kernels[0].is_too_small

    def cost_of(self, choice: Choice) -> int:
        """Returns what an option costs."""
        return len(self._kernels) * self._kernels[0].cost_of(choice)

    def estimating(self, limit: int | None, likely: int, is_over: Callable[[], bool]) -> list[Task]:
        """Returns what estimates the error of options, as `KernelOptions.estimate` does."""
        count = len(self._kernels)
        limit_of_one = None if limit is None else limit // count
        likely_of_one = math.ceil(likely / count)
        return self._tasks(lambda kernel: kernel.estimate(limit_of_one, likely_of_one, is_over))

    def comparing(self, cost: int, is_over: Callable[[], bool]) -> list[Task]:
        """Returns what corrects the most promising shapes by a few sweeps, at this cost."""
        return self._tasks(lambda kernel: kernel.compare(cost // len(self._kernels), is_over))

    def measuring(self, choice: Choice, *, nearly: bool) -> list[Task]:
        """Returns what finds the true error of an option, and answers whether it was unknown."""
        return self._tasks(lambda kernel: kernel.measure(choice, nearly=nearly))

    def planning(self, choice: Choice) -> list[Task]:
        """Returns what makes the kernels' plans of an option, with the true errors."""
        return self._tasks(lambda kernel: kernel.plan(choice))

    def _tasks(self, ask: Callable[[KernelOptions], Any]) -> list[Task]:
        def answer(kernel: KernelOptions) -> Any:
            found = ask(kernel)
            kernel.errors.release()
            return found

        return [Task(kernel.size, functools.partial(answer, kernel)) for kernel in self._kernels]

    @property
    def kept_bytes(self) -> int:
        """The size of what is kept if `keep_found` says so."""
        return sum(kernel.errors.kept_bytes for kernel in self._kernels)

    def keep_found(self, keeps: bool) -> None:
        """Says whether large matrices are kept, so that they need not be found again."""
        for kernel in self._kernels:
            kernel.errors.keeps = keeps

    @property
    def kinds(self) -> set[str]:
        """The kinds of structures among the options."""
        return self._kernels[0].kinds

    def front(
        self, *, measured: bool, nearly: bool, kind: str | None = None
    ) -> tuple[Front, Int[np.ndarray, "options 2"]]:
        """Returns the front of the options that `KernelOptions.known` lists, and their meaning."""
        found = [
            kernel.known(measured=measured, nearly=nearly, kind=kind) for kernel in self._kernels
        ]
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

    def plan(self, plans: Sequence[LayerPlan]) -> LayerPlan:
        """Returns the plan of the layer, from those of its kernels."""
        outputs = [plan.output_error for plan in plans if plan.output_error is not None]
        return dataclasses.replace(
            LayerPlan.of(self._layer, plans[0].structure),
            relative_error=_mean([plan.relative_error for plan in plans]),
            output_error=_mean(outputs) if len(outputs) == len(plans) else None,
            is_too_small=self.is_too_small,
            energies=KernelEnergies.mean([plan.energies for plan in plans]),
        )


def _mean(errors: Sequence[float]) -> float:
    if len(errors) == 1:
        return errors[0]
    return math.sqrt(math.fsum(error**2 for error in errors) / len(errors))
