"""What a comparison shows, in a few sentences: the smallest models near dense, and low rank."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from experiments.reporting.compare.against_low_rank import matches
from experiments.reporting.compare.groups import Comparison, Group
from experiments.reporting.compare.methods import DENSE, LOW_RANK, Method
from experiments.reporting.compare.near_dense import smallest_within
from experiments.reporting.wording import code, count, percent, points, spread


def headline(comparison: Comparison, split: str, size: str, tolerance: float) -> list[str]:
    """Says the result in a few sentences; structures stand in backticks.

    Args:
      comparison: what was compared.
      split: the split whose error counts.
      size: one of `comparisons.SIZES`, by which `smallest` is meant.
      tolerance: how many percentage points of error above dense are acceptable.
    """
    groups = comparison.at_best(split)
    dense = comparison.dense(split)
    sentences = []
    if dense is None:
        sentences.append(
            f"No dense baseline has a {split} error yet, so nothing can be compared with it."
        )
        sentences += _lowest(groups, split)
    else:
        by_kind = (("KFC", lambda m: m.is_kfc), ("low-rank", lambda m: m == LOW_RANK))
        found = {
            name: _near_dense(comparison, name, is_kind, dense, split, size, tolerance)
            for name, is_kind in by_kind
        }
        sentences += [sentence for _, sentence in found.values() if sentence]
        kfc, low_rank = found["KFC"][0], found["low-rank"][0]
        if kfc and low_rank:
            ratio = low_rank.sizes[size] / kfc.sizes[size]
            sentences.append(
                f"That low-rank model has {ratio:.3g} times as many "
                f"{comparison.size_label(size).removeprefix('total ')} as that KFC model."
            )
    return sentences + _against_low_rank(comparison, split)


def _near_dense(
    comparison: Comparison,
    name: str,
    is_kind: Callable[[Method], bool],
    dense: Group,
    split: str,
    size: str,
    tolerance: float,
) -> tuple[Group | None, str]:
    """Returns the smallest group of a kind near dense, and a sentence on it."""
    groups = [group for group in comparison.at_best(split) if is_kind(group.method)]
    if not groups:
        return None, f"No {name} model has a {split} error yet."
    near = (
        f"within {points(tolerance)} of {_named(dense)} ({spread(dense.error(split))} {split} error"
    )
    group = smallest_within(groups, dense, tolerance, size, split)
    if group is None:
        best = min(groups, key=lambda g: g.error(split).mean)
        return None, (
            f"No {name} model is {near}); the best is {_named(best)}: {spread(best.error(split))}."
        )
    layers = comparison.size_label("layer_parameters").removeprefix("parameters of ")
    in_total, in_layers = (percent(group.reduction(s)) for s in ("parameters", "layer_parameters"))
    return group, (
        f"The smallest {name} model {near}, {_size(dense, size)}) is {_named(group)}: "
        f"{spread(group.error(split))} with {_size(group, size)}; parameters fall by {in_total} "
        f"in the whole model and by {in_layers} in {layers}."
    )


def _against_low_rank(comparison: Comparison, split: str) -> list[str]:
    found = matches(comparison, split)
    if not found:
        return []
    wins = sum(match.difference < 0 for match in found)
    clear_wins = sum(match.difference < 0 and match.is_clear is True for match in found)
    clear_losses = sum(match.difference > 0 and match.is_clear is True for match in found)
    sentence = (
        "Against low rank at equal layer size, trained in the same way (up to 10% more parameters "
        f"count as equal), KFC has the lower {split} error at {wins} of {len(found)} sizes"
    )
    if any(match.is_clear is not None for match in found):
        sentence += (
            f"; by more than two standard errors KFC at {clear_wins} and low rank at {clear_losses}"
        )
    return [f"{sentence}."]


def _lowest(groups: Sequence[Group], split: str) -> list[str]:
    if not groups:
        return []
    best = min(groups, key=lambda group: group.error(split).mean)
    return [f"The lowest {split} error so far is {spread(best.error(split))}, of {_named(best)}."]


def _named(group: Group) -> str:
    name = "dense" if group.method == DENSE else code(group.structure)
    return f"{name} with {code(group.settings)}" if group.settings else name


def _size(group: Group, size: str) -> str:
    unit = "FLOPs per example" if size == "flops" else "parameters"
    where = " in the layer" if size == "layer_parameters" else ""
    return f"{count(group.sizes[size])} {unit}{where}"
