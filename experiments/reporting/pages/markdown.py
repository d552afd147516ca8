"""The report as Markdown, to paste into a README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.reporting.compare.against_low_rank import matches
from experiments.reporting.compare.groups import Comparison, Group
from experiments.reporting.compare.learning_rates import RateSearch, rate_searches
from experiments.reporting.compare.methods import DENSE, LOW_RANK
from experiments.reporting.compare.near_dense import pareto_front
from experiments.reporting.sentences.headline import headline
from experiments.reporting.sentences.learning_rates import rate_findings
from experiments.reporting.tables.all import comparison_tables
from experiments.reporting.tables.cell_table import CellTable
from experiments.reporting.tables.learning_rates import rate_grid, rate_table
from experiments.reporting.wording import code, count, percent, spread

_MOST_ROWS = 30
_PICTURES = {"starts": "starts", "sizes": "series"}  # above which table which picture stands


def markdown(
    comparisons: Sequence[Comparison],
    tolerances: Sequence[float],
    missing: Sequence[str],
    pictures: Mapping[str, Mapping[str, str]],
    rates: Mapping[str, Sequence[tuple[RateSearch, Path]]],
) -> str:
    """Returns the summary.

    Args:
      comparisons: what was compared.
      tolerances: for every comparison, the points of error above dense that are acceptable.
      missing: sentences on what the report lacks.
      pictures: by a comparison's title, the paths of its pictures: the `tradeoff`, and that of
        `starts` and of `series`, if there are any.
      rates: by a comparison's title, its searches for learning rates with their pictures.
    """
    parts = []
    for comparison, tolerance in zip(comparisons, tolerances, strict=True):
        split = comparison.splits[0]
        rows = _rows(comparison, split)
        parts += [f"### {_plain(comparison.title)}", ""]
        parts += [
            f"- {_plain(text)}" for text in headline(comparison, split, "parameters", tolerance)
        ]
        own = pictures.get(comparison.title, {})
        about = f"{comparison.title}: {split} error"
        if "tradeoff" in own:
            parts += ["", _picture(f"{about} against size", own["tradeoff"])]
        parts += ["", *_table(comparison, rows, split)]
        if (left_out := len(comparison.groups) - len(rows)) > 0:
            parts.append(f"\n{left_out} more structures are in the full table.")
        for table in comparison_tables(comparison, split):
            parts += ["", f"#### {table.name}", ""]
            if picture := own.get(_PICTURES.get(table.key, "")):
                parts += [_picture(f"{about}, {table.name.lower()}", picture), ""]
            parts += _table_of_cells(table)
        for search, picture in rates.get(comparison.title, ()):
            parts += ["", *_rates(comparison.title, search, picture)]
        parts.append("")
    if missing:
        parts += ["What is missing:", "", *(f"- {_plain(text)}" for text in missing), ""]
    return "\n".join(parts)


def _rates(title: str, search: RateSearch, picture: Path) -> list[str]:
    about = f" with {code(search.settings)}" if search.settings else ""
    alt = f"{title}: {search.split} error against learning rate"
    return [
        _plain(f"#### Learning rates{about}"),
        "",
        *(f"- {_plain(sentence)}" for sentence in rate_findings(search)),
        "",
        _picture(alt, picture.with_suffix(".png").name),
        "",
        *_table_of_cells(rate_table(search)),
        "",
        *_table_of_cells(rate_grid(search)),
    ]


def tables(comparison: Comparison, split: str) -> dict[str, list[str]]:
    """Returns the tables of a comparison as lines of Markdown, by their names."""
    structures = {"Structures": _table(comparison, comparison.at_best(split), split)}
    grids = [rate_grid(search) for search in rate_searches(comparison)]
    more = [*comparison_tables(comparison, split), *grids]
    return structures | {table.name: _table_of_cells(table) for table in more}


def _picture(alt: str, path: str) -> str:
    return f"![{_plain(alt)}]({path})"


def _table_of_cells(table: CellTable) -> list[str]:
    columns = range(len(table.head))
    return [
        _line(table.head),
        _line(["---" if i < table.text_columns else "---:" for i in columns]),
        *(
            _line([code(t) if t and i in table.structures else t for i, (t, _) in enumerate(cells)])
            for cells in table.rows
        ),
    ]


def _rows(comparison: Comparison, split: str) -> list[Group]:
    """Returns all groups if they are few, else what the headline is about."""
    groups = comparison.at_best(split)
    if len(groups) <= _MOST_ROWS:
        return groups
    front = pareto_front(groups, "parameters", split)
    matched = [match.kfc for match in matches(comparison, split)]
    wanted = {id(g) for g in groups if g.method in (DENSE, LOW_RANK)}
    wanted |= {id(g) for g in front + matched}
    return [group for group in groups if id(group) in wanted]


def _table(comparison: Comparison, rows: Sequence[Group], split: str) -> list[str]:
    head = ["method", "structure", *(["settings"] if comparison.has_settings else [])]
    layer, total, flops = map(comparison.size_label, ("layer_parameters", "parameters", "flops"))
    layer_flops = layer.replace("parameters", "FLOPs", 1)
    numbers = [layer, "fewer", total, "fewer", layer_flops, flops, f"{split} error"]
    lines = [
        _line([*head, *numbers]),
        _line(["---"] * len(head) + ["---:"] * len(numbers)),
    ]
    for group in rows:
        cells = [group.method.label, code(group.structure)]
        cells += [code(group.settings) if group.settings else ""] if comparison.has_settings else []
        for size in ("layer_parameters", "parameters"):
            cells += [count(group.sizes[size]), percent(group.reduction(size), 2)]
        cells += [count(group.layer_flops), count(group.sizes["flops"]), spread(group.error(split))]
        lines.append(_line(cells))
    return lines


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in cells) + " |"


def _plain(text: str) -> str:
    """Returns the text on one line, without anything that Markdown would read as HTML."""
    parts = " ".join(text.split()).split("`")
    return "`".join(p if i % 2 else p.replace("<", "&lt;") for i, p in enumerate(parts))
