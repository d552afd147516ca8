"""The tables of learning rates: every structure and gain at its best rate, and at every rate."""

from __future__ import annotations

from experiments.reporting.compare import learning_rates
from experiments.reporting.tables.other_settings import grid
from experiments.reporting.tables.table import METHOD, STRUCTURE, Column, Table, error, number

_NAMES = (METHOD, STRUCTURE, Column("gain", "gain_name"))
_COLUMNS = (
    *_NAMES,
    number("best rate", "learning_rate", "{:g}".format),
    error("error there"),
    error("error at dense's best rate", "at_dense"),
    number("best rate / dense's", "over_dense", "{:.3g}".format),
    number("edge", "is_at_edge", lambda is_at_edge: "edge" if is_at_edge else ""),
)


def rate_table(search: learning_rates.RateSearch) -> Table:
    """Returns the table of the curves, with their best rates."""
    return Table("rates", "Learning rates", _COLUMNS, search.curves)


def rate_grid(search: learning_rates.RateSearch) -> Table:
    """Returns the table of all errors, with a column for every learning rate."""
    heads = [f"{rate:g}" for rate in sorted(search.points.learning_rate.unique())]
    name = "Errors by learning rate" + (f" with {search.settings}" if search.settings else "")
    return grid("rate_grid", name, [*_NAMES], search.points, "learning_rate", heads)
