"""A table as a report shows it, in Markdown and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

Cell = tuple[str, float | None]
"""A text, and the number that it stands for, by which the page sorts."""


class CellTable(NamedTuple):
    """A table of texts.

    Attributes:
      key: what its rows are called in the page's code.
      name: its title.
      head: titles of the columns.
      text_columns: how many of them, the first ones, are text; the others are numbers.
      rows: the cells.
      structures: which of the columns hold structures, shown as code.
    """

    key: str
    name: str
    head: Sequence[str]
    text_columns: int
    rows: Sequence[Sequence[Cell]]
    structures: Sequence[int] = (1,)
