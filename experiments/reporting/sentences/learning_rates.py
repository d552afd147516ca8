"""What a search for learning rates shows, in sentences: the best rates, and the best gain."""

from __future__ import annotations

import pandas as pd

from experiments.reporting.compare import learning_rates

_NEAR = 2  # a best rate is near dense's within this factor
_OWN_RATE = "Each at its own best rate"


def rate_findings(search: learning_rates.RateSearch) -> list[str]:
    """Says where dense is at its best, and which one gain suits all structures of a kind best."""
    sentences = []
    if dense := search.dense:
        sentences.append(
            f"Dense has its lowest {search.split} error, {dense.error:.2%}, at a learning rate "
            f"of {dense.learning_rate:g}"
            f"{', the edge of the search' if dense.is_at_edge else ''}."
        )
    compressed = search.compressed
    for kind in ("KFC", "low-rank"):
        curves = compressed[compressed.family == kind]
        if not len(curves):
            continue
        if dense:
            sentences.append(_at_dense(search, curves, kind))
        sentences.append(_lowest_mean(search, curves.error, curves, kind, _OWN_RATE))
        if dense:
            sentences.append(_near_dense(search, curves, kind))
    if at_edge := compressed.is_at_edge.sum():
        sentences.append(
            f"{at_edge} of {len(compressed)} pairs of structure and gain have their best rate at "
            "the edge of the rates that are done."
        )
    return sentences


def _at_dense(search: learning_rates.RateSearch, curves: pd.DataFrame, kind: str) -> str:
    rate = search.dense.learning_rate
    has_diverged = curves.diverged.map(lambda rates: rate in rates)
    errors = curves.at_dense.mask(has_diverged, 1.0)
    said = _lowest_mean(search, errors, curves, kind, f"At dense's best rate, {rate:g}")
    return said + (" A run that diverged counts as 100%." if has_diverged.any() else "")


def _lowest_mean(
    search: learning_rates.RateSearch,
    errors: pd.Series,
    curves: pd.DataFrame,
    kind: str,
    when: str,
) -> str:
    """Compares the gains by their mean over the structures that have an error with every gain."""
    by_gain = curves.assign(error=errors).pivot(
        index="structure", columns="gain_name", values="error"
    )
    whole = by_gain[_gains(search, curves)].dropna()
    if not len(whole):
        return f"{when}, no {kind} structure has an error with every gain yet."
    means = whole.mean()
    best = means.idxmin()
    others = [f"{gain} {mean:.2%}" for gain, mean in means.items() if gain != best]
    over = f"1 {kind} structure" if len(whole) == 1 else f"{len(whole)} {kind} structures"
    return (
        f"{when}, {best} has the lowest mean {search.split} error over {over}: "
        f"{means[best]:.2%}" + (f" ({', '.join(others)})." if others else ".")
    )


def _near_dense(search: learning_rates.RateSearch, curves: pd.DataFrame, kind: str) -> str:
    is_near = curves.over_dense.between(1 / _NEAR, _NEAR).groupby(curves.gain_name)
    parts = [
        f"{is_near.sum()[gain]} of {is_near.size()[gain]} with {gain}"
        for gain in _gains(search, curves)
    ]
    return (
        f"{kind[0].upper()}{kind[1:]} structures with a best rate within a factor {_NEAR} of "
        f"dense's: {', '.join(parts)}."
    )


def _gains(search: learning_rates.RateSearch, curves: pd.DataFrame) -> list[str]:
    return [gain for gain in search.gains if gain in set(curves.gain_name)]
