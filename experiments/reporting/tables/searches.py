"""Searches for learning rates and for other settings: the errors of every structure with each."""

from __future__ import annotations

from typing import Any

import pandas as pd

from experiments.reporting.compare import Comparison, learning_rates
from experiments.reporting.tables.table import METHOD, STRUCTURE, Column, Table, error, number
from experiments.reporting.wording import settings_text, value_text

_OF_TRAINING = ("optimizer.", "augmentation.", "model.")
_HAVE_TABLES = ("optimizer.learning_rate", "optimizer.factor_gain", "optimizer.scale_factors")
_FEWEST = 3  # settings; two are a pair of series rather than a search
_CURVES = (METHOD, STRUCTURE, Column("gain", "gain_name"))
_RATES = (
    *_CURVES,
    number("best rate", "learning_rate", "{:g}".format),
    error("error there"),
    error("error at dense's best rate", "at_dense"),
    number("best rate / dense's", "over_dense", "{:.3g}".format),
    number("edge", "is_at_edge", lambda is_at_edge: "edge" if is_at_edge else ""),
)


def settings_grid(comparison: Comparison, split: str) -> Table | None:
    """Returns the table of a search, with a column for every setting; None if there is none.

    A search is over fields of the training or the model that have several values with one and the
    same structure. Learning rates and gains have tables of their own.
    """
    groups = comparison.on(split)
    fields = sorted(
        {
            field
            for _, same in groups.groupby("structure")
            for field in same.special.iloc[0]
            if len({str(own.get(field)) for own in same.special}) > 1
        }
    )
    if not all(f.startswith(_OF_TRAINING) and f not in _HAVE_TABLES for f in fields):
        return None
    settings = [tuple(_value(own.get(field)) for field in fields) for own in groups.special]
    order = sorted(set(settings), key=_order)
    if len(order) < _FEWEST:
        return None
    names = [field.rpartition(".")[2] for field in fields]
    heads = [settings_text(dict(zip(names, values, strict=True))) for values in order]
    groups = groups.assign(setting=[order.index(own) for own in settings])
    return _grid("settings", "Errors by setting", [METHOD, STRUCTURE], groups, "setting", heads)


def rate_table(search: learning_rates.RateSearch) -> Table:
    """Returns the table of the curves, with their best rates."""
    return Table("rates", "Learning rates", _RATES, search.curves)


def rate_grid(search: learning_rates.RateSearch) -> Table:
    """Returns the table of all errors, with a column for every learning rate."""
    heads = [f"{rate:g}" for rate in sorted(search.points.learning_rate.unique())]
    name = "Errors by learning rate" + (f" with {search.settings}" if search.settings else "")
    return _grid("rate_grid", name, [*_CURVES], search.points, "learning_rate", heads)


def _grid(
    key: str, name: str, row: list[Column], groups: pd.DataFrame, column: str, heads: list[str]
) -> Table:
    """Returns a table of errors.

    Args:
      key: of the table.
      name: of the table.
      row: the columns that tell its rows apart.
      groups: with an `error` each.
      column: name of the groups' column whose values, in rising order, become columns.
      heads: titles of these.
    """
    index, measured = [one.names for one in row], ["error", "error_std", "error_n"]
    groups = groups.assign(row=groups.groupby(index, sort=False).ngroup())
    cells = groups.drop_duplicates(["row", column], keep="last")
    wide = cells.pivot(index="row", columns=column, values=measured)
    wide.columns = [f"{name}_{place}" for name in measured for place in range(len(heads))]
    errors = [error(head, of=f"_{place}") for place, head in enumerate(heads)]
    rows = groups.drop_duplicates("row").set_index("row")[index]
    return Table(key, name, [*row, *errors], rows.join(wide))


def _value(value: Any) -> Any:
    """Returns a setting; lists as text, that they may be keys."""
    return value if isinstance(value, int | float) else value_text(value)


def _order(values: tuple[Any, ...]) -> list[tuple[bool, float, str]]:
    return [(True, 0.0, v) if isinstance(v, str) else (False, float(v), "") for v in values]
