"""What a comparison shows: Pareto front, smallest model near dense, KFC against low rank."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

from experiments.reporting.compare.groups import Comparison, Group
from experiments.reporting.compare.methods import DENSE, LOW_RANK, Method
from experiments.reporting.wording import code, count, percent, points, spread

TOLERANCES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

# A KFC layer counts as of a low-rank layer's size up to this many times its parameters: ranks are
# whole numbers, so that sizes of two methods never meet exactly.
_EQUAL_SIZE = 1.1


@dataclasses.dataclass(frozen=True)
class Match:
    """The best KFC layer that is no larger than a low-rank layer, or by 10% at most.

    Attributes:
      low_rank: the low-rank group.
      kfc: the KFC group.
      difference: error of KFC minus error of low rank.
      is_clear: whether it is over two standard errors; None without at least 2 seeds each.
    """

    low_rank: Group
    kfc: Group
    difference: float
    is_clear: bool | None


def pareto_front(groups: Iterable[Group], size: str, split: str) -> list[Group]:
    """Returns the groups that no other beats in both size and mean error, smallest first."""
    front: list[Group] = []
    by_size = sorted(groups, key=lambda g: (g.sizes[size], g.error(split).mean))
    for group in by_size:
        if not front or group.error(split).mean < front[-1].error(split).mean:
            front.append(group)
    return front


def default_tolerance(comparison: Comparison, split: str) -> float:
    """Returns about a tenth of the dense error in percentage points, one of TOLERANCES."""
    dense = comparison.dense(split)
    if dense is None:
        return 0.5
    tenth = max(dense.error(split).mean * 100 / 10, 1e-9)
    return min(TOLERANCES, key=lambda tolerance: abs(math.log(tolerance / tenth)))


def smallest_within(
    groups: Iterable[Group], dense: Group, tolerance: float, size: str, split: str
) -> Group | None:
    """Returns the smallest group whose mean error is at most `tolerance` points above dense's."""
    limit = dense.error(split).mean + tolerance / 100 + 1e-12
    near = [group for group in groups if group.error(split).mean <= limit]
    return min(near, key=lambda g: (g.sizes[size], g.error(split).mean), default=None)


def matches(comparison: Comparison, split: str) -> list[Match]:
    """Pairs every low-rank layer with the best KFC layer of its size.

    The best is chosen on the validation split where there is one, so that having more KFC layers to
    choose from does not flatter KFC on the test split.
    """
    groups = comparison.at_best(split)
    kfc = [group for group in groups if group.method.is_kfc]
    chosen_on = "validation" if all(group.error("validation") for group in kfc) else split
    found = []
    for low_rank in (group for group in groups if group.method == LOW_RANK):
        limit = low_rank.sizes["layer_parameters"] * _EQUAL_SIZE
        rivals = [group for group in kfc if group.sizes["layer_parameters"] <= limit]
        if rivals:
            best = min(rivals, key=lambda group: group.error(chosen_on).mean)
            found.append(_match(low_rank, best, split))
    return found


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
        "Against low rank at equal layer size (up to 10% more parameters count as equal) KFC has "
        f"the lower {split} error at {wins} of {len(found)} sizes"
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


def _match(low_rank: Group, kfc: Group, split: str) -> Match:
    ours, theirs = kfc.error(split), low_rank.error(split)
    is_clear = None
    if ours.std is not None and theirs.std is not None:
        standard_error = math.sqrt(ours.std**2 / ours.n + theirs.std**2 / theirs.n)
        is_clear = abs(ours.mean - theirs.mean) > 2 * standard_error
    return Match(low_rank, kfc, ours.mean - theirs.mean, is_clear)


def _named(group: Group) -> str:
    name = "dense" if group.method == DENSE else code(group.structure)
    return f"{name} with {code(group.settings)}" if group.settings else name


def _size(group: Group, size: str) -> str:
    unit = "FLOPs per example" if size == "flops" else "parameters"
    where = " in the layer" if size == "layer_parameters" else ""
    return f"{count(group.sizes[size])} {unit}{where}"
