"""The tables of a comparison that the summary and the page share."""

from __future__ import annotations

from experiments.reporting.compare.groups import Comparison
from experiments.reporting.compare.starts import started_groups
from experiments.reporting.tables.cell_table import CellTable
from experiments.reporting.tables.other_settings import settings_grid
from experiments.reporting.tables.series import series_tables
from experiments.reporting.tables.starts import start_table


def comparison_tables(comparison: Comparison, split: str) -> list[CellTable]:
    """Returns those of starts, of series and of a search for settings, where there is any."""
    started = started_groups(comparison, split)
    starts = [start_table(comparison, split, started)] if started else []
    grid = settings_grid(comparison, split)
    return [*starts, *series_tables(comparison, split), *([grid] if grid else [])]
