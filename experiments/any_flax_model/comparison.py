"""Differences between models of one seed, over all seeds: their mean, and how sure it is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.stats

from experiments.any_flax_model.results import DENSE, FURTHER, Result, Run

AUTO, KFC, LOW_RANK = "auto", "kfc", "low_rank"
METHODS = (AUTO, KFC, LOW_RANK)
"""Methods of plans, the one that the target is about first."""

TARGETS = {"digits": 1.0, "text": 2.0}
"""What `auto` may lose at a half of the parameters: points of accuracy, or percent of the loss."""

TARGET_BUDGET = 0.5
_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Difference:
    """The mean of differences over seeds.

    Attributes:
      mean: of them.
      half: half of its 95% interval, by Student's distribution; NaN with one seed.
      seeds: how many there are.
    """

    mean: float
    half: float
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Difference:
        """Returns that of some differences; NaN without any."""
        count = len(values)
        if count == 0:
            return cls(math.nan, math.nan, 0)
        if count == 1:
            return cls(values[0], math.nan, 1)
        quantile = scipy.stats.t.ppf((1 + _CONFIDENCE) / 2, count - 1)
        half = float(quantile * np.std(values, ddof=1) / math.sqrt(count))
        return cls(float(np.mean(values)), half, count)

    @property
    def is_above(self) -> bool:
        """Whether all of the interval is above 0."""
        return self.seeds > 1 and self.mean - self.half > 0


@dataclasses.dataclass(frozen=True)
class Row:
    """One model, budget and method over all its seeds.

    Attributes:
      model: its name.
      task: what it does.
      budget: the fraction of the parameters; None of the dense model, trained further.
      method: of the plan.
      results: those of its seeds.
      dense: the measure of the dense models, their mean.
      before: the mean right after the conversion.
      after: the mean after a tenth of the training.
      to_dense: how far it is above dense: points, or percent of the dense loss.
      to_further: how far above dense models that had that tenth, too.
      to_low_rank: how far above low rank at the same budget.
    """

    model: str
    task: str
    budget: float | None
    method: str
    results: tuple[Result, ...]
    dense: float
    before: float
    after: float
    to_dense: Difference
    to_further: Difference
    to_low_rank: Difference

    @property
    def excess(self) -> float:
        """How far above the target it is, as a multiple of what may be lost."""
        return self.to_dense.mean / TARGETS[self.task] - 1

    @property
    def has_target(self) -> bool:
        """Whether the target is about it."""
        return self.method == AUTO and self.budget == TARGET_BUDGET


def rows(results: Sequence[Result]) -> list[Row]:
    """Returns a row for every model, budget and method, dense models trained further included."""
    found = {result.run: result for result in results}
    cells = {(r.model, r.budget, r.method): None for r in _ordered(results) if r.method != DENSE}
    return [_row(*cell, found) for cell in cells]


def _ordered(results: Sequence[Result]) -> Iterator[Result]:
    methods = (FURTHER, *METHODS)
    known = {method: i for i, method in enumerate(methods)}
    yield from sorted(
        results, key=lambda r: (r.model, -(r.budget or math.inf), known.get(r.method, -1), r.seed)
    )


def _row(model: str, budget: float | None, method: str, found: dict[Run, Result]) -> Row:
    own = [
        result
        for run, result in found.items()
        if (run.model, run.budget, run.method) == (model, budget, method)
        and Run(model, run.seed, DENSE) in found
    ]
    measure = own[0].measure if own else ""
    task = own[0].task if own else "digits"

    def above(other_method: str, other_budget: float | None) -> Difference:
        differences = []
        for result in own:
            other = found.get(Run(model, result.seed, other_method, other_budget))
            dense = found[Run(model, result.seed, DENSE)].after[measure]
            if other is not None:
                scale = dense if task == "text" else 1.0
                value = 100 * (result.after[measure] - other.after[measure]) / scale
                differences.append(value)
        return Difference.of(differences)

    dense = [found[Run(model, result.seed, DENSE)].after[measure] for result in own]
    return Row(
        model=model,
        task=task,
        budget=budget,
        method=method,
        results=tuple(own),
        dense=_mean(dense),
        before=_mean([result.before[measure] for result in own]),
        after=_mean([result.after[measure] for result in own]),
        to_dense=above(DENSE, None),
        to_further=above(FURTHER, None),
        to_low_rank=above(LOW_RANK, budget),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan
