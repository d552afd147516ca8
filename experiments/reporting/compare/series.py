"""Series: the groups of a comparison that were made in one way and differ in their layers alone."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from experiments.reporting.compare.groups import Comparison, Group, best_of
from experiments.reporting.compare.methods import DENSE, LOW_RANK, structure_of
from experiments.reporting.compare.start_points import STARTS, start_of, unordered


@dataclasses.dataclass(frozen=True)
class Series:
    """Compressed models that differ in the structures of the same layers alone.

    Attributes:
      trunk: the fields of the model, not of the compared layers, that not all models of the
        comparison share, as text.
      replaced: the layers that are not dense.
      start: one of `start_points.STARTS`.
      epochs: that they were trained for.
      groups: one for every structure, at its best learning rate, smallest layers first.
      dense: the dense model with the same trunk, where there is one.
    """

    trunk: str
    replaced: tuple[str, ...]
    start: str
    epochs: int
    groups: tuple[Group, ...]
    dense: Group | None

    @property
    def kfc(self) -> list[Group]:
        """Those whose layers are all Kronecker sums."""
        return [group for group in self.groups if group.method.is_kfc]

    @property
    def low_rank(self) -> list[Group]:
        """Those whose layers are all of low rank."""
        return [group for group in self.groups if group.method == LOW_RANK]

    @property
    def has_both(self) -> bool:
        """Whether it has both Kronecker sums and low rank."""
        return bool(self.kfc and self.low_rank)


def series_of(comparison: Comparison, split: str) -> list[Series]:
    """Returns the series of all compressed groups with an error on the split.

    They are in the order of their trunks, then of the layers that they replace, then of STARTS. To
    low-rank layers the order of hidden units makes no difference: those that were decomposed
    without it stand beside the Kronecker sums with it, too.
    """
    members: dict[_Key, dict[str, list[Group]]] = {}
    trunks: list[str] = []
    dense = comparison.dense_by_trunk(split)
    for group in comparison.groups:
        if not group.error(split):
            continue
        trunks.append(group.trunk)
        if group.method == DENSE:
            continue
        group = _of_replaced_layers(group)
        first = group.trials[0]
        replaced = tuple(layer.name for layer in group.layers)
        epochs = int(first.config.get("train.num_epochs", 0))
        same = members.setdefault(_Key(group.trunk, replaced, start_of(first), epochs), {})
        same.setdefault(group.structure, []).append(group)
    _add_unordered(members)
    keys = sorted(
        members,
        key=lambda k: (
            trunks.index(k.trunk),
            len(k.replaced),
            k.replaced,
            STARTS.index(k.start),
            k.epochs,
        ),
    )
    return [
        Series(
            key.trunk,
            key.replaced,
            key.start,
            key.epochs,
            tuple(sorted(map(best_of, members[key].values()), key=_layer_size)),
            dense.get(key.trunk),
        )
        for key in keys
    ]


class _Key(NamedTuple):
    trunk: str
    replaced: tuple[str, ...]
    start: str
    epochs: int


def _of_replaced_layers(group: Group) -> Group:
    """Returns the group without its dense layers, which other groups replace."""
    layers = tuple(layer for layer in group.layers if layer.kind != "dense")
    return dataclasses.replace(group, layers=layers, structure=structure_of(layers))


def _add_unordered(members: dict[_Key, dict[str, list[Group]]]) -> None:
    """Adds low rank to the series of reordered sums; its own go, if they have nothing else."""
    for key, structures in list(members.items()):
        plain = key._replace(start=unordered(key.start))
        if plain == key or plain not in members:
            continue
        low_rank = {s: g for s, g in members[plain].items() if g[0].method == LOW_RANK}
        structures |= low_rank | structures
        if low_rank.keys() == members[plain].keys():
            del members[plain]


def _layer_size(group: Group) -> int:
    return group.sizes["layer_parameters"]
