"""What a report has on one comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.reporting.compare import Comparison, learning_rates


class Picture(NamedTuple):
    """A picture of a report.

    Attributes:
      name: `tradeoff`, `budgets`, `curves`, `starts` or `series`.
      svg: its file; beside it is a PNG of the same name.
      caption: what it shows, in words.
    """

    name: str
    svg: Path
    caption: str


class Part(NamedTuple):
    """A comparison with what the report says and shows of it.

    Attributes:
      comparison: what was compared.
      tolerance: the points of error above dense that are acceptable (at first, on the page).
      pictures: those that there are, the trade-off first.
      rates: its searches for learning rates, with the SVG file of each.
    """

    comparison: Comparison
    tolerance: float
    pictures: Sequence[Picture]
    rates: Sequence[tuple[learning_rates.RateSearch, Path]]
