"""Searches for learning rates: the error of every structure and gain, rate by rate."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.reporting.compare.groups import Comparison, Group, settings_text
from experiments.reporting.compare.methods import DENSE, LOW_RANK, Method
from experiments.reporting.trials.spread import Spread
from experiments.reporting.trials.trial import Trial

_RATE = "optimizer.learning_rate"
_IS_SCALED = "optimizer.scale_factors"
_GAIN = "optimizer.factor_gain"


@dataclasses.dataclass(frozen=True)
class RateCurve:
    """One structure, trained with one gain of its factors at several learning rates.

    Attributes:
      method: how its layers are made.
      structure: the same in full.
      gain: of the factors' multipliers; None without them, and for dense.
      errors: on the search's split, by learning rate, in rising order; at least one.
      best_rate: the rate of the lowest error, on the validation split where there is one.
      diverged: the rates at which a number was not finite.
    """

    method: Method
    structure: str
    gain: float | None
    errors: Mapping[float, Spread]
    best_rate: float
    diverged: tuple[float, ...] = ()

    @property
    def label(self) -> str:
        """Its structure as a name that stands alone."""
        return f"low rank, {self.structure}" if self.method == LOW_RANK else self.structure

    @property
    def best(self) -> Spread:
        """The error at the best rate."""
        return self.errors[self.best_rate]

    @property
    def is_at_edge(self) -> bool:
        """Whether no lower or no higher rate was tried than the best one."""
        tried = (*self.errors, *self.diverged)
        return self.best_rate in (min(tried), max(tried))


@dataclasses.dataclass(frozen=True)
class RateSearch:
    """All curves that differ in layers, gain and learning rate alone.

    Attributes:
      settings: what distinguishes them from the other searches of the comparison; mostly empty.
      split: the split of the errors.
      curves: dense first, then by method and size; by gain, without multipliers first.
    """

    settings: str
    split: str
    curves: tuple[RateCurve, ...]

    @property
    def dense(self) -> RateCurve | None:
        """The dense baseline, or None."""
        return next((curve for curve in self.curves if curve.method == DENSE), None)

    @property
    def compressed(self) -> dict[str, list[RateCurve]]:
        """All other curves, by the structure's label."""
        found: dict[str, list[RateCurve]] = {}
        for curve in self.curves:
            if curve.method != DENSE:
                found.setdefault(curve.label, []).append(curve)
        return found

    @property
    def gains(self) -> list[float | None]:
        """The gains of the compressed layers, without multipliers first."""
        return sorted({c.gain for c in self.curves if c.method != DENSE}, key=_gain_order)

    def at_dense(self, curve: RateCurve) -> Spread | None:
        """Returns the error of a curve at dense's best rate, or None."""
        return curve.errors.get(self.dense.best_rate) if self.dense else None

    def over_dense(self, curve: RateCurve) -> float | None:
        """Returns the best rate of a curve over dense's best rate, or None."""
        return curve.best_rate / self.dense.best_rate if self.dense else None


def rate_searches(comparison: Comparison, trials: Iterable[Trial] = ()) -> list[RateSearch]:
    """Returns the searches with a structure at two learning rates or more.

    Args:
      comparison: the finished trials.
      trials: all trials; those that diverged count as tried.
    """
    by_settings: dict[str, list[Group]] = {}
    for group in comparison.groups:
        others = {n: v for n, v in group.fields.items() if n not in (_RATE, _IS_SCALED, _GAIN)}
        by_settings.setdefault(settings_text(others), []).append(group)
    diverged = [trial for trial in trials if trial.has_diverged]
    found = [_search(settings, groups, diverged) for settings, groups in by_settings.items()]
    return [search for search in found if any(len(curve.errors) > 1 for curve in search.curves)]


def gain_name(gain: float | None) -> str:
    """Returns a gain as words: `gain 0.25`."""
    return "no multipliers" if gain is None else f"gain {gain:g}"


def _search(settings: str, groups: Sequence[Group], diverged: Sequence[Trial]) -> RateSearch:
    split, chosen_on = _splits(groups)
    by_curve: dict[tuple[str, float | None], dict[float, Group]] = {}
    for group in groups:
        rate = group.trials[0].config.get(_RATE)
        if isinstance(rate, int | float) and group.error(split):
            curve = by_curve.setdefault((group.structure, _gain_of(group)), {})
            # Dense layers have no factors: their runs with several gains are the same.
            curve.setdefault(float(rate), group)
    order = list(dict.fromkeys(structure for structure, _ in by_curve))
    keys = sorted(by_curve, key=lambda key: (order.index(key[0]), _gain_order(key[1])))
    curves = [_curve(key[1], by_curve[key], split, chosen_on, diverged) for key in keys]
    return RateSearch(settings, split, tuple(curves))


def _curve(
    gain: float | None,
    by_rate: Mapping[float, Group],
    split: str,
    chosen_on: str,
    diverged: Sequence[Trial],
) -> RateCurve:
    groups = dict(sorted(by_rate.items()))
    first = next(iter(groups.values()))
    same = _but_rate(first.trials[0])
    return RateCurve(
        method=first.method,
        structure=first.structure,
        gain=gain,
        errors={rate: group.error(split) for rate, group in groups.items()},
        best_rate=min(groups, key=lambda rate: groups[rate].error(chosen_on).mean),
        diverged=tuple(
            sorted(
                {float(t.config[_RATE]) for t in diverged if _but_rate(t) == same} - groups.keys()
            )
        ),
    )


def _splits(groups: Sequence[Group]) -> tuple[str, str]:
    """Returns the split to show, and the one to choose the best rate on."""
    whole = [s for s in ("test", "validation") if all(group.error(s) for group in groups)]
    if not whole:
        some = "test" if all(not group.error("validation") for group in groups) else "validation"
        return some, some
    return whole[0], whole[-1]


def _gain_of(group: Group) -> float | None:
    config = group.trials[0].config
    if group.method == DENSE or not config.get(_IS_SCALED, True):
        return None
    return float(config.get(_GAIN, 1.0))


def _gain_order(gain: float | None) -> float:
    return -1.0 if gain is None else gain


def _but_rate(trial: Trial) -> str:
    settings: dict[str, Any] = {n: v for n, v in trial.settings.items() if n != _RATE}
    return json.dumps(settings, sort_keys=True)
