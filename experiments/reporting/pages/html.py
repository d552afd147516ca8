"""The report as one self-contained HTML page: it opens from disk and asks no network for anything.

Everything that a user names (trials, structures, settings, logs) is escaped, and the page's own
policy forbids it to load or to run anything that is not in it.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from experiments.reporting.compare import Comparison, near_dense
from experiments.reporting.pages.sections import Part, Picture, Section, sections
from experiments.reporting.sentences import headline
from experiments.reporting.tables import (
    STRUCTURE,
    Column,
    Table,
    error,
    group_columns,
    number,
    stored_columns,
)
from experiments.reporting.trials import SPLITS, Trial
from experiments.reporting.wording import percent, points

_HERE = Path(__file__).parent


def page(
    runs: pd.DataFrame,
    parts: Sequence[Part],
    missing: Sequence[str],
    links: Mapping[Path, str],
    created: str,
    title: str,
) -> str:
    """Returns the page.

    Args:
      runs: the table of all trials.
      parts: what is compared of them.
      missing: sentences on what the report lacks.
      links: by a trial's folder, the path to it from the page.
      created: when the report was made, for people.
      title: what the report is on.
    """
    done = (runs.state == "done").sum()
    data = {"comparisons": [_data(part.comparison, part.tolerance) for part in parts]}
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    )
    lacks = (
        '<section class="missing" aria-label="What is missing">'
        f"<strong>What is missing</strong>{_list(missing)}</section>"
    )
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Report: {escape(title)}</title>
<style>
{(_HERE / "report.css").read_text()}</style></head>
<body>
<header><h1>Report: {escape(title)}</h1>
<p class="soft">{done} of {len(runs)} trials done. Made {escape(created)}.</p>
</header>
<main>
{lacks if missing else ""}
{"".join(_comparison(place, part, links) for place, part in enumerate(parts))}
{_trial_section(runs, parts, links)}
</main>
<script type="application/json" id="report-data">{_script_json(data)}</script>
<script>
{(_HERE / "report.js").read_text()}</script>
</body></html>
"""


def _comparison(place: int, part: Part, links: Mapping[Path, str]) -> str:
    comparison, tolerance = part.comparison, part.tolerance
    sizes, splits = comparison.sizes, comparison.splits
    name = f"comparison-{place}"
    tolerances = {_key(t): points(t) for t in sorted({*near_dense.TOLERANCES, tolerance})}
    methods = {method.key: method.label for method in comparison.methods}
    above = [part.pictures[name] for name in ("budgets", "curves") if name in part.pictures]
    # The page's own plot shows the trade-off, so that its picture is needed without scripts only.
    return f"""
<section id="{name}" aria-labelledby="{name}-title">
<h2 id="{name}-title">{escape(comparison.title)}</h2>
<div class="controls" data-needs-script hidden>
{_select("points", "near dense means within", tolerances, _key(tolerance))}
{_select("size", "smallest by", {size: comparison.size_label(size) for size in sizes})}
{_select("split", "error on", {split: split for split in splits})}
<label><input type="checkbox" data-part="log" checked> logarithmic error</label>
</div>
<div class="headline">{_list(part.headline, 'data-part="headline" aria-live="polite"')}</div>
<div data-needs-script hidden>
<h3>Error against size</h3>
<p class="soft">Every point is a structure, its bar the standard deviation over seeds; lines join a
method's best points, its other points are pale, rings mark the Pareto front of all methods. Names
stand beside points where there is room. Hover over a point or move to it with Tab for its details;
click it, or press Enter, to find it in the table. Points that the table's filter leaves out
fade.</p>
<div class="controls legend" data-part="legend" aria-label="Methods"></div>
<div class="legend lines" data-part="lines"></div>
<div class="plot" data-part="plot">
<div class="tip" data-part="tip" role="tooltip" hidden></div>
</div>
<div class="key soft" data-part="key" aria-label="Names of numbered points"></div>
</div>
<noscript>{_figure(part.pictures["tradeoff"])}</noscript>
<h3>Structures</h3>
{_filter("data-part=group-filter", "method", methods)}
{_group_table(comparison, links)}
{"".join(map(_figure, above))}
{"".join(_section(comparison, section) for section in sections(part))}
</section>"""


def _section(comparison: Comparison, section: Section) -> str:
    tables = [_table(table, f"{table.name} of {comparison.title}") for table in section.tables]
    return (
        f"<h3>{_marked_up(section.title)}</h3>"
        f"{_list(section.sentences) if section.sentences else ''}"
        f"{_figure(section.picture) if section.picture else ''}"
        f"{''.join(tables)}"
    )


def _filter(attributes: str, what: str, choices: Mapping[str, str]) -> str:
    return (
        f'<div class="controls" {attributes} data-needs-script hidden>'
        '<label>Filter <input type="search" placeholder="words in a row, as rank 1"></label>'
        f"{_select('choice', what, {'': 'all', **choices})}"
        '<span class="soft" role="status"></span></div>'
    )


def _select(part: str, label: str, choices: Mapping[str, str], chosen: str = "") -> str:
    options = "".join(
        f'<option value="{escape(value)}"{" selected" if chosen and value == chosen else ""}>'
        f"{escape(text)}</option>"
        for value, text in choices.items()
    )
    return f'<label>{escape(label)} <select data-part="{part}">{options}</select></label>'


def _group_table(comparison: Comparison, links: Mapping[Path, str]) -> str:
    method, structure, *settings = group_columns(comparison)

    def by_seed(trials: Sequence[Trial]) -> str:
        return " ".join(_link(t, links, "?" if t.seed is None else t.seed) for t in trials)

    columns = [
        method,
        structure._replace(kind="name"),
        *settings,
        *(error(f"{split} error", f"{split}_error") for split in comparison.splits),
        number("layer parameters", "layer_parameters"),
        number("fewer in layer", "layer_parameters_reduction", lambda saved: percent(saved, 2)),
        number("total parameters", "parameters"),
        number("fewer in total", "parameters_reduction", lambda saved: percent(saved, 2)),
        number("FLOPs per example", "flops"),
        *stored_columns(comparison, comparison.splits),
        number("seconds", "seconds", "{:.0f}".format),
        Column("trials by seed", "records", by_seed, "markup"),
    ]
    keys = (method.key for method in comparison.groups.method)
    rows = [f'data-group="g{place}" data-choice="{key}"' for place, key in enumerate(keys)]
    table = Table("groups", "Structures", columns, comparison.groups)
    return _table(table, f"Structures of {comparison.title}", rows)


def _trial_section(runs: pd.DataFrame, parts: Sequence[Part], links: Mapping[Path, str]) -> str:
    compared = [part.comparison.runs.structure for part in parts]
    columns = [
        Column("sweep", "sweep"),
        Column("trial", "record", lambda trial: _link(trial, links, trial.name), "markup name"),
        Column("state", "state"),
        number("seed", "seed", str),
        STRUCTURE._replace(kind="name"),
        number("total parameters", "parameters"),
        *(number(f"{split} error", f"{split}_error", "{:.2%}".format) for split in SPLITS),
        number("seconds", "seconds", "{:.0f}".format),
        Column("command and problems", "record", _details, "markup"),
    ]
    runs = runs.assign(structure=pd.concat([pd.Series(dtype=object), *compared]))
    table = Table("trials", "All trials", columns, runs)
    states = {state: state for state in runs.state.unique()}
    rows = [f'data-choice="{state}"' for state in runs.state]
    return (
        '<section aria-labelledby="trials-title"><h2 id="trials-title">All trials</h2>'
        f"{_filter('id=trial-filter', 'state', states)}"
        f"{_table(table, 'All trials', rows)}</section>"
    )


def _details(trial: Trial) -> str:
    parts = {"command": trial.command, "problem": trial.problem}
    return "".join(
        f"<details><summary>{name}</summary><pre>{escape(text)}</pre></details>"
        for name, text in parts.items()
        if text
    )


def _table(table: Table, label: str, rows: Sequence[str] = ()) -> str:
    """Returns a table; `rows` are attributes of its rows, by which the script finds them."""
    head = "".join(
        f'<th scope="col"{" class=number" if column.kind == "number" else ""}>'
        f'<button type="button">{escape(column.head)}</button></th>'
        for column in table.columns
    )
    kinds = [column.kind for column in table.columns]
    lines = [
        f"<tr{f' {attributes}' if attributes else ''}>"
        + "".join(_cell(kind, *cell) for kind, cell in zip(kinds, cells, strict=True))
        + "</tr>"
        for attributes, cells in zip(rows or [""] * len(table.frame), table.rows, strict=True)
    ]
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">'
        f'<table class="{table.key}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(kind: str, text: str, value: float | None) -> str:
    """Returns a cell of one of the kinds of columns; a number sorts by its value, not its text."""
    if kind == "number":
        sort_by = "" if value is None else escape(str(value))
        return f'<td class="number" data-value="{sort_by}">{escape(text)}</td>'
    content = text if "markup" in kind else escape(text)
    if kind in ("code", "name") and content:
        content = f"<code>{content}</code>"
    return f'<td class="name">{content}</td>' if "name" in kind else f"<td>{content}</td>"


def _link(trial: Trial, links: Mapping[Path, str], text: object) -> str:
    content = escape(str(text))
    if not trial.folder.is_dir():
        return content
    return f'<a href="{escape(quote(links[trial.folder]))}/">{content}</a>'


def _figure(picture: Picture) -> str:
    encoded = base64.b64encode(picture.svg.read_bytes()).decode()
    caption = escape(f"{picture.title}; {picture.note}.")
    return (
        f'<figure><img alt="{caption}" src="data:image/svg+xml;base64,{encoded}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _list(sentences: Sequence[str], attributes: str = "") -> str:
    items = "".join(f"<li>{_marked_up(sentence)}</li>" for sentence in sentences)
    return f"<ul {attributes}>{items}</ul>"


def _marked_up(sentence: str) -> str:
    """Escapes a sentence; its backticks become code."""
    parts = [escape(part) for part in sentence.split("`")]
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


def _data(comparison: Comparison, tolerance: float) -> dict[str, Any]:
    """Returns what the page's script draws and says."""
    sizes, splits = comparison.sizes, comparison.splits
    dense = {split: comparison.dense(split) for split in splits}
    measures = [f"{split}_error{part}" for split in splits for part in ("", "_std", "_n")]
    groups = comparison.groups.assign(
        method=[method.key for method in comparison.groups.method],
        settings=comparison.groups.setting_name,
        command=[record.command for record in comparison.groups.record],
    )
    columns = [*sizes, *(f"{size}_reduction" for size in sizes), *measures]
    columns += ["method", "label", "settings", "is_best", "command"]
    return {
        "methods": {method.key: dataclasses.asdict(method) for method in comparison.methods},
        "sizes": {size: comparison.size_label(size) for size in sizes},
        "groups": json.loads(groups[columns].to_json(orient="records")),
        "dense": {split: row and row.Index for split, row in dense.items()},
        "fronts": {
            split: {size: _fronts(comparison, size, split) for size in sizes} for split in splits
        },
        "headlines": {
            split: {
                size: {
                    _key(t): headline(comparison, split, size, t)
                    for t in {*near_dense.TOLERANCES, tolerance}
                }
                for size in sizes
            }
            for split in splits
        },
    }


def _fronts(comparison: Comparison, size: str, split: str) -> dict[str, Any]:
    groups = comparison.at_best(split)
    return {
        "all": list(near_dense.pareto_front(groups, size).index),
        "methods": {
            method.key: list(near_dense.pareto_front(own, size).index)
            for method, own in groups.groupby("method", sort=False)
        },
    }


def _key(tolerance: float) -> str:
    return f"{tolerance:g}"


def _script_json(data: Any) -> str:
    """Returns JSON in which nothing can end the script element that it stands in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
