"""The tables of a report: for readers as texts, for programs as files.

- `CellTable`: a table of texts, with the numbers that they stand for.
- `comparison_tables`: the tables of a comparison that are not about learning rates.
- `rate_table`: learning rates: every structure at its best rate.
- `rate_grid`: learning rates: all errors, with a column for every rate.
- `write_trials`: writes every trial as CSV and Parquet.
- `write_groups`: writes every group of seeds likewise.
- `write_rates`: writes every search for learning rates likewise.
"""

from experiments.reporting.tables.all import comparison_tables
from experiments.reporting.tables.cell_table import CellTable
from experiments.reporting.tables.csv_files import write_groups, write_trials
from experiments.reporting.tables.learning_rates import rate_grid, rate_table, write_rates

__all__ = [
    "CellTable",
    "comparison_tables",
    "rate_grid",
    "rate_table",
    "write_groups",
    "write_rates",
    "write_trials",
]
