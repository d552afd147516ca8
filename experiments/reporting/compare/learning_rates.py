"""Searches for learning rates: the error of every structure and gain, rate by rate."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

import pandas as pd

from experiments.reporting.compare.groups import Comparison, first
from experiments.reporting.compare.methods import DENSE
from experiments.reporting.trials import SPLITS
from experiments.reporting.wording import settings_text

_RATE = "optimizer.learning_rate"
_OWN = (_RATE, "optimizer.scale_factors", "optimizer.factor_gain")
_CURVE = ["structure", "gain_name"]
_ERROR = ["error", "error_std", "error_n"]


class RateSearch(NamedTuple):
    """All groups that differ in layers, gain and learning rate alone.

    Attributes:
      settings: what distinguishes them from the other searches of the comparison; mostly empty.
      split: the split of the errors.
      points: a row for every structure, gain and learning rate, with its error: curve by curve in
        their order, rates rising.
      curves: a row for every structure and gain (`gain` and `gain_name`: NaN and `no multipliers`
        without them, empty for dense): dense first, then by method and size, by gain, without
        multipliers first. It is the group at its `learning_rate` with the lowest error, on the
        validation split where there is one. `tried` are the rates with an error, `diverged` those
        at which a number was not finite, and `is_at_edge` says that no lower or no higher rate was
        tried. `at_dense` (with `_std` and `_n`) is the error at dense's best rate, and `over_dense`
        the best rate over that one; both are NaN where unknown.
    """

    settings: str
    split: str
    points: pd.DataFrame
    curves: pd.DataFrame

    @property
    def dense(self) -> Any:
        """The row of the dense baseline's curve, or None."""
        return first(self.curves[self.curves.method == DENSE])

    @property
    def compressed(self) -> pd.DataFrame:
        """All other curves."""
        return self.curves[self.curves.method != DENSE]

    @property
    def gains(self) -> list[str]:
        """Names of the gains of the compressed layers, without multipliers first."""
        return list(self.compressed.sort_values("gain", na_position="first").gain_name.unique())


def rate_searches(comparison: Comparison, runs: pd.DataFrame | None = None) -> list[RateSearch]:
    """Returns the searches with a structure at two learning rates or more.

    Args:
      comparison: the finished runs.
      runs: the table of all runs, of which those that diverged count as tried.
    """
    groups = comparison.groups
    others = [
        settings_text({name: v for name, v in fields.items() if name not in _OWN})
        for fields in groups.special
    ]
    diverged = [] if runs is None else runs[runs.has_diverged].itertuples()
    tried = [(_but_rate(run.fields), float(run.learning_rate)) for run in diverged]
    found = [
        _search(settings, own, pd.DataFrame(tried, columns=["config", "diverged"]))
        for settings, own in groups.groupby(others, sort=False)
    ]
    return [search for search in found if search and (search.curves.tried.map(len) > 1).any()]


def _search(settings: str, groups: pd.DataFrame, diverged: pd.DataFrame) -> RateSearch | None:
    split, chosen_on = _splits(groups)
    points = groups.assign(
        **{name: groups[f"{split}_{name}"] for name in _ERROR},
        chosen=groups[f"{chosen_on}_error"],
        learning_rate=pd.to_numeric(groups.learning_rate, errors="coerce").astype(float),
        # Dense layers have no factors: their runs with several gains are the same.
        gain=groups.gain.mask(groups.method == DENSE),
        order=pd.factorize(groups.structure)[0],
    ).dropna(subset=["error", "learning_rate"])
    if not len(points):
        return None
    points["gain_name"] = points.gain.map(gain_name).mask(points.method == DENSE, "")
    points = points.drop_duplicates([*_CURVE, "learning_rate"])
    points = points.sort_values(["order", "gain", "learning_rate"], na_position="first")
    by_curve = points.groupby(_CURVE, sort=False)
    curves = points.loc[by_curve.chosen.idxmin()].set_index(_CURVE, drop=False)
    curves["tried"] = by_curve.learning_rate.agg(tuple)
    curves["diverged"] = [
        tuple(sorted(set(diverged.diverged[diverged.config == _but_rate(fields)]) - {*tried}))
        for fields, tried in zip(by_curve.fields.first(), curves.tried, strict=True)
    ]
    curves["is_at_edge"] = [
        best in (min(tried), max(tried))
        for best, tried in zip(curves.learning_rate, curves.tried + curves.diverged, strict=True)
    ]
    dense = first(curves[curves.method == DENSE])
    best_rate = dense.learning_rate if dense else math.nan
    at_dense = points[points.learning_rate == best_rate].set_index(_CURVE)[_ERROR]
    at_dense.columns = ["at_dense", "at_dense_std", "at_dense_n"]
    curves = curves.join(at_dense).assign(over_dense=curves.learning_rate / best_rate)
    return RateSearch(settings, split, points, curves.reset_index(drop=True))


def gain_name(gain: float) -> str:
    """Returns a gain as words: `gain 0.25`."""
    return "no multipliers" if math.isnan(gain) else f"gain {gain:g}"


def _splits(groups: pd.DataFrame) -> tuple[str, str]:
    """Returns the split to show, and the one to choose the best rate on."""
    whole = [split for split in SPLITS if groups[f"{split}_error"].notna().all()]
    if not whole:
        some = "test" if groups.validation_error.isna().all() else "validation"
        return some, some
    return whole[0], whole[-1]


def _but_rate(fields: dict[str, Any]) -> str:
    return json.dumps({n: v for n, v in fields.items() if n != _RATE}, sort_keys=True)
