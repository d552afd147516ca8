"""A table as a report shows it: columns of a data frame, with their titles and formats."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from experiments.reporting.wording import count, spread

Cell = tuple[str, float | None]
"""A text, and the number that it stands for, by which the page sorts."""


class Column(NamedTuple):
    """A column of a table.

    Attributes:
      head: its title.
      names: the columns of the frame that it shows, with spaces between them; by the first one it
        is sorted, and where that one is missing, the cell is empty.
      show: makes a text of their values.
      kind: `number`, or `text`, or `code` (a structure, shown as such), or `markup` (HTML that is
        safe as it is).
    """

    head: str
    names: str
    show: Callable[..., str] = str
    kind: str = "text"

    def cells(self, frame: pd.DataFrame) -> list[Cell]:
        """Returns its cell for every row of the frame."""
        values = zip(*(frame[name] for name in self.names.split()), strict=True)
        return [("", None) if _is_missing(own[0]) else self._cell(own) for own in values]

    def _cell(self, values: Sequence[Any]) -> Cell:
        return self.show(*values), values[0] if self.kind == "number" else None


class Table(NamedTuple):
    """A table of texts, from which the page and Markdown are made.

    Attributes:
      key: what its rows are called in the page's code.
      name: its title.
      columns: those of texts first.
      frame: has a row for each of its rows.
    """

    key: str
    name: str
    columns: Sequence[Column]
    frame: pd.DataFrame

    @property
    def head(self) -> tuple[str, ...]:
        """Titles of the columns."""
        return tuple(column.head for column in self.columns)

    @property
    def rows(self) -> list[list[Cell]]:
        """The cells, row by row."""
        columns = [column.cells(self.frame) for column in self.columns]
        return [list(cells) for cells in zip(*columns, strict=True)]


def code(head: str, name: str) -> Column:
    """Returns a column of structures or settings."""
    return Column(head, name, kind="code")


def number(head: str, names: str, show: Callable[..., str] = count) -> Column:
    """Returns a column of numbers, by default of whole ones."""
    return Column(head, names, show, "number")


def error(head: str, name: str = "error", of: str = "") -> Column:
    """Returns a column of errors with their spread; `of` ends the names of the frame's columns."""
    return number(head, f"{name}{of} {name}_std{of} {name}_n{of}", spread)


def difference(value: float, standard_error: float = math.nan) -> str:
    """Returns a difference of errors in points: `-0.50 ± 0.14`."""
    text = f"{value * 100:+.2f}"
    return text if math.isnan(standard_error) else f"{text} ± {standard_error * 100:.2f}"


METHOD = Column("method", "method", lambda method: method.label)
STRUCTURE = code("structure", "structure")
SETTINGS = Column("settings", "setting_name")


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
