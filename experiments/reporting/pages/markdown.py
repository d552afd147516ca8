"""The report as Markdown, to paste into a README."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from experiments.reporting.compare import (
    DENSE,
    LOW_RANK,
    Comparison,
    against_low_rank,
    learning_rates,
    near_dense,
)
from experiments.reporting.pages.sections import Part, Picture, sections
from experiments.reporting.tables import (
    Table,
    comparison_tables,
    error,
    group_columns,
    number,
    rate_grid,
    stored_columns,
)
from experiments.reporting.wording import code, percent

_MOST_ROWS = 30


def summary(parts: Sequence[Part], missing: Sequence[str]) -> str:
    """Returns the summary; `missing` are sentences on what the report lacks."""
    lines = [line for part in parts for line in _comparison(part)]
    if missing:
        lines += ["What is missing:", "", *_list(missing), ""]
    return "\n".join(lines)


def _comparison(part: Part) -> list[str]:
    comparison, split = part.comparison, part.split
    rows = _rows(comparison, split)
    lines = [f"### {_plain(comparison.title)}", ""]
    lines += [*_list(part.headline), "", _picture(part.pictures["tradeoff"])]
    lines += ["", *table_lines(_structures(comparison, rows, split))]
    if (left_out := len(comparison.groups) - len(rows)) > 0:
        lines.append(f"\n{left_out} more structures are in the full table.")
    for title, sentences, picture, shown in sections(part):
        lines += ["", _plain(f"#### {title}"), ""]
        if sentences:
            lines += [*_list(sentences), ""]
        if picture:
            lines += [_picture(picture), ""]
        lines += [line for table in shown for line in (*table_lines(table), "")][:-1]
    return [*lines, ""]


def tables(comparison: Comparison, split: str) -> dict[str, list[str]]:
    """Returns the tables of a comparison as lines of Markdown, by their names."""
    found = [
        _structures(comparison, comparison.at_best(split), split),
        *comparison_tables(comparison, split),
        *(rate_grid(search) for search in learning_rates.rate_searches(comparison)),
    ]
    return {table.name: table_lines(table) for table in found}


def _rows(comparison: Comparison, split: str) -> pd.DataFrame:
    """Returns all groups if they are few, else what the headline is about."""
    groups = comparison.at_best(split)
    if len(groups) <= _MOST_ROWS:
        return groups
    front = near_dense.pareto_front(groups, "parameters")
    wanted = {*against_low_rank.matches(comparison, split).folder_kfc, *front.folder}
    return groups[groups.method.isin([DENSE, LOW_RANK]) | groups.folder.isin(wanted)]


def _structures(comparison: Comparison, groups: pd.DataFrame, split: str) -> Table:
    layer, total, flops = map(comparison.size_label, ("layer_parameters", "parameters", "flops"))
    columns = [
        *group_columns(comparison),
        number(layer, "layer_parameters"),
        number("fewer", "layer_parameters_reduction", lambda saved: percent(saved, 2)),
        number(total, "parameters"),
        number("fewer", "parameters_reduction", lambda saved: percent(saved, 2)),
        number(layer.replace("parameters", "FLOPs", 1), "layer_flops"),
        number(flops, "flops"),
        error(f"{split} error"),
        *stored_columns(comparison, [split]),
    ]
    return Table("structures", "Structures", columns, groups)


def table_lines(table: Table) -> list[str]:
    """Returns the lines of a table."""
    kinds = [column.kind for column in table.columns]
    lines = [_line(table.head), _line("---:" if kind == "number" else "---" for kind in kinds)]
    for cells in table.rows:
        texts = zip(kinds, (text for text, _ in cells), strict=True)
        lines.append(_line(code(text) if text and kind == "code" else text for kind, text in texts))
    return lines


def _list(sentences: Sequence[str]) -> list[str]:
    return [f"- {_plain(sentence)}" for sentence in sentences]


def _picture(picture: Picture) -> str:
    return f"![{_plain(picture.title)}]({picture.svg.with_suffix('.png').name})"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in cells) + " |"


def _plain(text: str) -> str:
    """Returns the text on one line, without anything that Markdown would read as HTML."""
    parts = " ".join(text.split()).split("`")
    return "`".join(p if i % 2 else p.replace("<", "&lt;") for i, p in enumerate(parts))
