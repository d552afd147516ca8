"""Tables as lines of text."""

from __future__ import annotations

from collections.abc import Sequence


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int) -> list[str]:
    """Returns the lines of a table: the head, a rule, the rows.

    Args:
      head: titles of the columns.
      rows: the cells.
      text_columns: how many columns, from the left, are texts; numbers are aligned at the right.
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i < text_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]
