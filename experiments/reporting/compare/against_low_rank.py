"""KFC against low rank within a series: at equal sizes, and at equal errors."""

from __future__ import annotations

import functools
import math

import numpy as np
import pandas as pd
from jaxtyping import Float

from experiments.reporting.compare.groups import Comparison
from experiments.reporting.compare.series import Series, series_of

# Ranks are whole numbers, so that sizes of two methods seldom meet exactly.
EQUAL_SIZE = 1.1
"""A KFC layer counts as of a low-rank layer's size up to this many times its parameters."""

_COMPARED = ["structure", "layer_parameters", "error", "error_std", "error_n", "folder"]
_DRAWS = 2_000
_ENDS = (0.025, 0.975)  # quantiles


def at_equal_size(series: Series) -> pd.DataFrame:
    """Pairs every low-rank layer of the series with the KFC layer of its size, if there is one.

    That is the largest KFC layer that is no larger, or by 10% at most. Of several of one size it is
    the one with the highest error, so that having tried more of them is no advantage.

    Returns:
      a row for each pair: some of the groups' columns with `_kfc` and `_low_rank`, the `difference`
      of their errors (KFC minus low rank), and its `standard_error` (NaN without 2 seeds each).
    """
    low_rank, kfc = series.low_rank[_COMPARED], series.kfc[_COMPARED]
    low_rank = low_rank.assign(limit=low_rank.layer_parameters * EQUAL_SIZE)
    kfc = kfc.assign(limit=kfc.layer_parameters * 1.0).sort_values(["limit", "error"])
    pairs = pd.merge_asof(low_rank, kfc, on="limit", suffixes=("_low_rank", "_kfc"))
    pairs = pairs.dropna(subset="error_kfc").astype({"layer_parameters_kfc": int})
    variance = sum(
        pairs[f"error_std_{of}"] ** 2 / pairs[f"error_n_{of}"] for of in ("kfc", "low_rank")
    )
    return pairs.assign(
        difference=pairs.error_kfc - pairs.error_low_rank, standard_error=np.sqrt(variance)
    )


@functools.lru_cache(maxsize=8)
def matches(comparison: Comparison, split: str) -> pd.DataFrame:
    """Returns the pairs of all series of a comparison.

    Only models with the same trunk and the same start meet. The report's headline counts these, and
    its table of equal sizes has a row for each.
    """
    return pd.concat(
        [pd.DataFrame(columns=["difference", "standard_error", "folder_kfc"])]
        + [at_equal_size(one) for one in series_of(comparison, split)]
    )


def at_equal_error(series: Series) -> pd.DataFrame:
    """Reads off KFC's curve, for every low-rank layer, the size at which it has the same error.

    The curve joins the best layers up to every size, linearly in error and in the logarithm of
    size. The interval comes from drawing all means anew 2,000 times, from normal distributions with
    the standard deviation that the structures of the series have on average over their seeds.

    Returns:
      the low-rank groups, with `kfc_parameters` (where KFC's curve reaches the error; its smallest
      layer if that one has it already; NaN if no layer has it), the `ratio` of low rank's
      parameters to those (to the largest layer's if none reaches it), `low` and `high` of its 95%
      interval, and whether it `is_bound`, as KFC's curve ends before it.
    """
    kfc, low_rank = series.kfc, series.low_rank
    groups = pd.concat([kfc, low_rank])
    deviation = math.sqrt(np.nan_to_num((groups.error_std**2).mean()))
    means = groups.error.to_numpy()
    scales = deviation / np.sqrt(groups.error_n.to_numpy())
    noise = np.random.default_rng(0).standard_normal((_DRAWS, len(groups)))
    draws = means + scales * noise
    sizes = np.log(kfc.layer_parameters.to_numpy(float))
    own = np.log(low_rank.layer_parameters.to_numpy(float))
    errors = means[: len(kfc)]
    found = []
    for index, size in enumerate(own, len(kfc)):
        log_size, is_reached = _where(sizes, errors, means[index]), errors.min() <= means[index]
        ratios = [math.exp(size - _where(sizes, d[: len(kfc)], d[index])) for d in draws]
        needed = math.exp(log_size) if is_reached else math.nan
        is_bound = not is_reached or errors[0] <= means[index]
        found.append((needed, math.exp(size - log_size), *np.quantile(ratios, _ENDS), is_bound))
    names = ["kfc_parameters", "ratio", "low", "high", "is_bound"]
    return low_rank.assign(**pd.DataFrame(found, low_rank.index, names))


def _where(
    sizes: Float[np.ndarray, " layers"], errors: Float[np.ndarray, " layers"], error: float
) -> float:
    """Returns where a falling curve, the running minimum of `errors`, reaches an error.

    It is one of the curve's ends where that is higher or lower than all of it.
    """
    return float(np.interp(error, np.minimum.accumulate(errors)[::-1], sizes[::-1]))
