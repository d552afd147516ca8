"""What a report has on one comparison, and in which order the page and the summary show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.reporting.compare import Comparison, learning_rates
from experiments.reporting.sentences import headline, rate_findings
from experiments.reporting.tables import Table, comparison_tables, rate_grid, rate_table
from experiments.reporting.wording import code

_OF_TABLES = {"starts": "starts", "sizes": "series"}  # the pictures that stand above tables


class Picture(NamedTuple):
    """A picture of a report.

    Attributes:
      svg: its file; beside it is a PNG of the same name.
      title: what it shows, in words.
      note: how to read it, or empty.
    """

    svg: Path
    title: str
    note: str = ""


class Part(NamedTuple):
    """A comparison with what the report says and shows of it.

    Attributes:
      comparison: what was compared.
      tolerance: the points of error above dense that are acceptable (at first, on the page).
      searches: its searches for learning rates.
      pictures: those that there are, by name: `tradeoff` always, `budgets`, `curves`, `starts`,
        `series`, and `learning_rates` with `-2` and so on for further searches.
    """

    comparison: Comparison
    tolerance: float
    searches: Sequence[learning_rates.RateSearch]
    pictures: Mapping[str, Picture]

    @property
    def split(self) -> str:
        """The split whose errors it is about."""
        return self.comparison.splits[0]

    @property
    def headline(self) -> list[str]:
        """The result in a few sentences."""
        return headline(self.comparison, self.split, "parameters", self.tolerance)


class Section(NamedTuple):
    """What stands below a heading, apart from what is first: headline, trade-off and structures.

    Attributes:
      title: backticks mark code in it.
      sentences: above the picture.
      picture: above the tables, if there is one.
      tables: at least one.
    """

    title: str
    sentences: Sequence[str]
    picture: Picture | None
    tables: Sequence[Table]


def sections(part: Part) -> list[Section]:
    """Returns the sections of a comparison."""
    of_tables = [
        Section(table.name, [], part.pictures.get(_OF_TABLES.get(table.key, "")), [table])
        for table in comparison_tables(part.comparison, part.split)
    ]
    of_searches = [
        Section(
            f"Learning rates{f' with {code(search.settings)}' if search.settings else ''}",
            rate_findings(search),
            part.pictures[rates_name(number)],
            [rate_table(search), rate_grid(search)],
        )
        for number, search in enumerate(part.searches, 1)
    ]
    return of_tables + of_searches


def rates_name(number: int) -> str:
    """Returns the name of the picture of a search, from its number, which starts at 1."""
    return "learning_rates" if number == 1 else f"learning_rates-{number}"
