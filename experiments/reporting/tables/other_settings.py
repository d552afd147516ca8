"""Searches for settings other than the learning rate: the error of every structure with each."""

from __future__ import annotations

from typing import Any

from experiments.reporting.compare import Comparison, Group
from experiments.reporting.tables.cell_table import CellTable
from experiments.reporting.wording import settings_text, spread, value_text

_OF_TRAINING = ("optimizer.", "augmentation.", "model.")
_HAVE_TABLES = ("optimizer.learning_rate", "optimizer.factor_gain", "optimizer.scale_factors")
_FEWEST = 3  # settings; two are a pair of series rather than a search


def settings_grid(comparison: Comparison, split: str) -> CellTable | None:
    """Returns the table of a search, with a column for every setting; None if there is none.

    A search is over fields of the training or the model that have several values with one and the
    same structure. Learning rates and gains have tables of their own.
    """
    by_structure: dict[str, list[Group]] = {}
    for group in comparison.groups:
        if group.error(split):
            by_structure.setdefault(group.structure, []).append(group)
    fields = _searched(by_structure)
    if not all(f.startswith(_OF_TRAINING) and f not in _HAVE_TABLES for f in fields):
        return None
    found = {
        structure: {_values(group, fields): group.error(split) for group in groups}
        for structure, groups in by_structure.items()
    }
    settings = sorted({s for by_setting in found.values() for s in by_setting}, key=_order)
    if len(settings) < _FEWEST:
        return None
    names = [field.rpartition(".")[2] for field in fields]
    texts = [settings_text(dict(zip(names, values, strict=True))) for values in settings]
    rows = [
        [
            (groups[0].method.label, None),
            (structure, None),
            *(
                (spread(error), error.mean) if (error := found[structure].get(s)) else ("", None)
                for s in settings
            ),
        ]
        for structure, groups in by_structure.items()
    ]
    return CellTable("settings", "Errors by setting", ("method", "structure", *texts), 2, rows)


def _searched(by_structure: dict[str, list[Group]]) -> list[str]:
    """Returns the fields with several values among the groups of some structure."""
    found: set[str] = set()
    for groups in by_structure.values():
        for field in groups[0].fields:
            if len({str(group.fields.get(field)) for group in groups}) > 1:
                found.add(field)
    return sorted(found)


def _values(group: Group, fields: list[str]) -> tuple[Any, ...]:
    """Returns the group's settings; lists as text, that they may be keys."""
    values = (group.fields.get(field) for field in fields)
    return tuple(v if isinstance(v, int | float) else value_text(v) for v in values)


def _order(values: tuple[Any, ...]) -> list[tuple[bool, float, str]]:
    return [(True, 0.0, v) if isinstance(v, str) else (False, float(v), "") for v in values]
