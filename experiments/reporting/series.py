"""Series: the groups of a comparison that were made in one way and differ in their layers alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.reporting.comparisons import Comparison, Group, best_of, settings_text
from experiments.reporting.methods import DENSE, LOW_RANK
from experiments.reporting.starts import STARTS, start_of, unordered


@dataclasses.dataclass(frozen=True)
class Series:
    """Compressed models that differ in the structures of the same layers alone.

    Attributes:
      model: the fields of the model (its trunk, not the compared layers) that not all models of the
        comparison share.
      replaced: the layers that are not dense.
      start: one of `starts.STARTS`.
      epochs: that they were trained for.
      groups: one for every structure, at its best learning rate, smallest layers first.
      dense: the dense model with the same trunk, where there is one.
    """

    model: Mapping[str, Any]
    replaced: tuple[str, ...]
    start: str
    epochs: int
    groups: tuple[Group, ...]
    dense: Group | None


def series_names(series: Sequence[Series]) -> list[str]:
    """Returns a name for each: its start, and what else tells it from the others."""
    parts = [
        (
            settings_text(one.model).replace("model.", ""),
            " and ".join(one.replaced),
            one.start,
            f"{one.epochs} epochs",
        )
        for one in series
    ]
    start = 2
    told = [i for i in range(4) if i == start or len({own[i] for own in parts}) > 1]
    return [", ".join(own[i] for i in told if own[i]) for own in parts]


def series_of(comparison: Comparison, split: str) -> list[Series]:
    """Returns the series of all compressed groups with an error on the split.

    They are in the order of their trunks, then of the layers that they replace, then of STARTS. To
    low-rank layers the order of hidden units makes no difference: those that were decomposed
    without it stand beside the Kronecker sums with it, too.
    """
    members: dict[tuple[str, tuple[str, ...], str, int], dict[str, list[Group]]] = {}
    models: dict[str, Mapping[str, Any]] = {}
    dense: dict[str, list[Group]] = {}
    for group in comparison.groups:
        if not group.error(split):
            continue
        model = {f: v for f, v in group.fields.items() if f.startswith("model.")}
        trunk = settings_text(model)
        models[trunk] = model
        if group.method == DENSE:
            dense.setdefault(trunk, []).append(group)
            continue
        replaced = tuple(layer.name for layer in group.layers if layer.kind != "dense")
        first = group.trials[0]
        epochs = int(first.config.get("train.num_epochs", 0))
        of = members.setdefault((trunk, replaced, start_of(first), epochs), {})
        of.setdefault(group.structure, []).append(group)
    for (trunk, replaced, start, epochs), structures in list(members.items()):
        key = (trunk, replaced, unordered(start), epochs)
        if start == unordered(start) or key not in members:
            continue
        low_rank = {s: g for s, g in members[key].items() if g[0].method == LOW_RANK}
        structures |= low_rank | structures
        if low_rank.keys() == members[key].keys():
            del members[key]
    trunks = list(models)
    found = []
    for (trunk, replaced, start, epochs), structures in members.items():
        best = sorted(map(best_of, structures.values()), key=lambda g: g.sizes["layer_parameters"])
        baseline = best_of(dense[trunk]) if trunk in dense else None
        found.append(Series(models[trunk], replaced, start, epochs, tuple(best), baseline))
    return sorted(
        found,
        key=lambda s: (
            trunks.index(settings_text(s.model)),
            len(s.replaced),
            s.replaced,
            STARTS.index(s.start),
            s.epochs,
        ),
    )


def has_both(series: Sequence[Series]) -> bool:
    """Says whether some series has both Kronecker sums and low rank."""
    return any(
        any(group.method.is_kfc for group in one.groups)
        and any(group.method == LOW_RANK for group in one.groups)
        for one in series
    )
