"""What a comparison shows: the smallest models near dense, and KFC against low rank."""

from __future__ import annotations

from typing import Any

from experiments.reporting.compare import DENSE, Comparison, against_low_rank, near_dense
from experiments.reporting.wording import code, count, error_of, percent, points


def headline(comparison: Comparison, split: str, size: str, tolerance: float) -> list[str]:
    """Says the result in a few sentences; structures stand in backticks.

    Args:
      comparison: what was compared.
      split: the split whose error counts.
      size: one of `Comparison.sizes`, by which `smallest` is meant.
      tolerance: how many percentage points of error above dense are acceptable.
    """
    groups = comparison.at_best(split)
    dense = comparison.dense(split)
    if dense is None:
        sentences = [
            f"No dense baseline has a {split} error yet, so nothing can be compared with it."
        ]
        if best := near_dense.lowest_error(groups):
            sentences.append(
                f"The lowest {split} error so far is {error_of(best)}, of {_named(best)}."
            )
        return sentences + _against_low_rank(comparison, split)
    sentences, found = [], []
    settings = f"{dense.setting_name}; " if dense.setting_name else ""
    for family in ("KFC", "low-rank"):
        own = groups[groups.family == family]
        smallest = near_dense.smallest_within(own, dense, tolerance, size)
        found.append(smallest)
        near = f"within {points(tolerance)} of dense ({settings}{error_of(dense)} {split} error"
        if smallest:
            sentences.append(
                f"The smallest {family} model {near}, {_size(dense, size)}) is "
                f"{_saved(comparison, smallest, size)}"
            )
        elif best := near_dense.lowest_error(own):
            sentences.append(
                f"No {family} model is {near}); the best is {_named(best)}: {error_of(best)}."
            )
        else:
            sentences.append(f"No {family} model has a {split} error yet.")
    kfc, low_rank = found
    if kfc and low_rank:
        ratio = getattr(low_rank, size) / getattr(kfc, size)
        sentences.append(
            f"That low-rank model has {ratio:.3g} times as many "
            f"{comparison.size_label(size).removeprefix('total ')} as that KFC model."
        )
    return sentences + _against_low_rank(comparison, split)


def _against_low_rank(comparison: Comparison, split: str) -> list[str]:
    """Counts the sizes at which KFC and low rank have the lower error; empty if none is equal."""
    pairs = against_low_rank.matches(comparison, split)
    if not len(pairs):
        return []
    sentence = (
        "Against low rank with the same trunk, start and layer size (up to 10% more parameters "
        f"count as equal) KFC has the lower {split} error at {(pairs.difference < 0).sum()} of "
        f"{len(pairs)} sizes"
    )
    if pairs.standard_error.notna().any():
        clear = pairs.difference[pairs.difference.abs() > 2 * pairs.standard_error]
        sentence += (
            f"; by more than two standard errors KFC at {(clear < 0).sum()} and low rank at "
            f"{(clear >= 0).sum()}"
        )
    return [f"{sentence}."]


def _saved(comparison: Comparison, group: Any, size: str) -> str:
    layers = comparison.size_label("layer_parameters").removeprefix("parameters of ")
    in_total, in_layers = group.parameters_reduction, group.layer_parameters_reduction
    return (
        f"{_named(group)}: {error_of(group)} with {_size(group, size)}; parameters fall by "
        f"{percent(in_total)} in the whole model and by {percent(in_layers)} in {layers}."
    )


def _named(group: Any) -> str:
    name = "dense" if group.method == DENSE else code(group.structure)
    return f"{name} ({group.setting_name})" if group.setting_name else name


def _size(group: Any, size: str) -> str:
    unit = "FLOPs per example" if size == "flops" else "parameters"
    where = " in the layer" if size == "layer_parameters" else ""
    return f"{count(getattr(group, size))} {unit}{where}"
