"""What a search for learning rates shows, in sentences: the best rates, and the best gain."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from experiments.reporting.compare import DENSE, LOW_RANK, learning_rates

_NEAR = 2  # a best rate is near dense's within this factor
_OWN_RATE = "Each at its own best rate"
_KINDS = (("KFC", lambda method: method.is_kfc), ("low-rank", lambda method: method == LOW_RANK))


def rate_findings(search: learning_rates.RateSearch) -> list[str]:
    """Says where dense is at its best, and which one gain suits all structures of a kind best."""
    sentences = []
    if dense := search.dense:
        sentences.append(
            f"Dense has its lowest {search.split} error, {dense.best.mean:.2%}, at a learning rate "
            f"of {dense.best_rate:g}{', the edge of the search' if dense.is_at_edge else ''}."
        )
    compressed = [curve for curve in search.curves if curve.method != DENSE]
    for kind, is_kind in _KINDS:
        curves = [curve for curve in compressed if is_kind(curve.method)]
        if not curves:
            continue
        if dense:
            sentences.append(_at_dense(search, curves, kind))
        sentences.append(_lowest_mean(search, curves, kind, _OWN_RATE, lambda c: c.best.mean))
        if dense:
            sentences.append(_near_dense(search, curves, kind))
    if at_edge := sum(curve.is_at_edge for curve in compressed):
        sentences.append(
            f"{at_edge} of {len(compressed)} pairs of structure and gain have their best rate at "
            "the edge of the rates that are done."
        )
    return sentences


def _at_dense(
    search: learning_rates.RateSearch, curves: Sequence[learning_rates.RateCurve], kind: str
) -> str:
    rate = search.dense.best_rate

    def error(curve: learning_rates.RateCurve) -> float | None:
        if rate in curve.diverged:
            return 1.0
        found = search.at_dense(curve)
        return found and found.mean

    said = _lowest_mean(search, curves, kind, f"At dense's best rate, {rate:g}", error)
    has_diverged = any(rate in curve.diverged for curve in curves)
    return said + (" A run that diverged counts as 100%." if has_diverged else "")


def _lowest_mean(
    search: learning_rates.RateSearch,
    curves: Sequence[learning_rates.RateCurve],
    kind: str,
    when: str,
    error_of: Callable[[learning_rates.RateCurve], float | None],
) -> str:
    """Compares the gains by their mean over the structures that have an error with every gain."""
    name_of, gains = learning_rates.gain_name, _gains(search, curves)
    by_structure: dict[str, dict[float | None, float]] = {}
    for curve in curves:
        if (error := error_of(curve)) is not None:
            by_structure.setdefault(curve.structure, {})[curve.gain] = error
    whole = [errors for errors in by_structure.values() if len(errors) == len(gains)]
    if not whole:
        return f"{when}, no {kind} structure has an error with every gain yet."
    means = {gain: statistics.fmean(errors[gain] for errors in whole) for gain in gains}
    best = min(means, key=means.__getitem__)
    others = [f"{name_of(gain)} {mean:.2%}" for gain, mean in means.items() if gain != best]
    over = f"1 {kind} structure" if len(whole) == 1 else f"{len(whole)} {kind} structures"
    return (
        f"{when}, {name_of(best)} has the lowest mean {search.split} error over {over}: "
        f"{means[best]:.2%}" + (f" ({', '.join(others)})." if others else ".")
    )


def _near_dense(
    search: learning_rates.RateSearch, curves: Sequence[learning_rates.RateCurve], kind: str
) -> str:
    parts = []
    for gain in _gains(search, curves):
        ratios = [search.over_dense(curve) for curve in curves if curve.gain == gain]
        near = sum(1 / _NEAR <= ratio <= _NEAR for ratio in ratios)
        parts.append(f"{near} of {len(ratios)} with {learning_rates.gain_name(gain)}")
    return (
        f"{kind[0].upper()}{kind[1:]} structures with a best rate within a factor {_NEAR} of "
        f"dense's: {', '.join(parts)}."
    )


def _gains(
    search: learning_rates.RateSearch, curves: Sequence[learning_rates.RateCurve]
) -> list[float | None]:
    present = {curve.gain for curve in curves}
    return [gain for gain in search.gains if gain in present]
