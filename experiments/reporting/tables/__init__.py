"""The tables of a report: for readers as texts, for programs as files.

- `Table`: columns of a data frame, with titles and formats, from which all text is made.
- `Column`, `number`, `error`: what such a column is, and two kinds of it.
- `STRUCTURE`: a column that many tables have.
- `group_columns`: those that tell groups apart.
- `stored_columns`: those of bytes on disk.
- `comparison_tables`: the tables of a comparison that are not about learning rates.
- `rate_table`: learning rates: every structure at its best rate.
- `rate_grid`: learning rates: all errors, with a column for every rate.
- `files`: writes them as CSV and Parquet.
"""

from experiments.reporting.tables import files
from experiments.reporting.tables.comparisons import (
    comparison_tables,
    group_columns,
    stored_columns,
)
from experiments.reporting.tables.searches import rate_grid, rate_table
from experiments.reporting.tables.table import STRUCTURE, Column, Table, error, number

__all__ = [
    "STRUCTURE",
    "Column",
    "Table",
    "comparison_tables",
    "error",
    "files",
    "group_columns",
    "number",
    "rate_grid",
    "rate_table",
    "stored_columns",
]
