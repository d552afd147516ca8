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

from experiments.reporting.compare import Comparison, learning_rates, near_dense
from experiments.reporting.pages.part import Part, Picture
from experiments.reporting.sentences import headline, rate_findings
from experiments.reporting.tables import (
    STRUCTURE,
    Column,
    Table,
    comparison_tables,
    error,
    group_columns,
    number,
    rate_table,
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
    body = [
        f"<header><h1>Report: {escape(title)}</h1>"
        f'<p class="soft">{done} of {len(runs)} trials done. Made {escape(created)}.</p>',
        "</header>",
        "<main>",
        _missing(missing),
        *(_comparison(place, part, links) for place, part in enumerate(parts)),
        _trial_section(runs, parts, links),
        "</main>",
    ]
    data = {"comparisons": [_data(part.comparison, part.tolerance) for part in parts]}
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    )
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Report: {escape(title)}</title>",
            f"<style>\n{(_HERE / 'report.css').read_text()}</style></head>",
            "<body>",
            *body,
            f'<script type="application/json" id="report-data">{_script_json(data)}</script>',
            f"<script>\n{(_HERE / 'report.js').read_text()}</script>",
            "</body></html>\n",
        ]
    )


def _missing(sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    return (
        '<section class="missing" aria-label="What is missing">'
        f"<strong>What is missing</strong>{_list(sentences)}</section>"
    )


def _comparison(place: int, part: Part, links: Mapping[Path, str]) -> str:
    comparison, tolerance, pictures, rates = part
    split = comparison.splits[0]
    said = headline(comparison, split, "parameters", tolerance)
    name = f"comparison-{place}"
    choices = sorted({*near_dense.TOLERANCES, tolerance})
    controls = " ".join(
        [
            _select("points", "near dense means within", choices, tolerance, points),
            _select("size", "smallest by", comparison.sizes, "parameters", comparison.size_label),
            _select("split", "error on", comparison.splits, split, str),
            '<label><input type="checkbox" data-part="log" checked> logarithmic error</label>',
        ]
    )
    # The page's own plot shows the trade-off, so that its picture is needed without scripts only.
    fallback, *others = (_figure(picture) for picture in pictures)
    return f"""
<section id="{name}" aria-labelledby="{name}-title">
<h2 id="{name}-title">{escape(comparison.title)}</h2>
<div class="controls" data-needs-script hidden>{controls}</div>
<div class="headline">{_list(said, 'data-part="headline" aria-live="polite"')}</div>
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
<noscript>{fallback}</noscript>
<h3>Structures</h3>
{_filter("group-filter", "method", _methods(comparison))}
{_group_table(comparison, links)}
{"".join(others)}
{_more_tables(comparison)}
{"".join(_rates(comparison, search, svg) for search, svg in rates)}
</section>"""


def _rates(comparison: Comparison, search: learning_rates.RateSearch, svg: Path) -> str:
    about = f" with <code>{escape(search.settings)}</code>" if search.settings else ""
    caption = (
        f"{comparison.title}: {search.split} error against learning rate; hollow marks at the top "
        "of a panel are of higher errors."
    )
    name = f"Learning rates of {comparison.title} {search.settings}".strip()
    table = _table(rate_table(search), name)
    return (
        f"<h3>Learning rates{about}</h3>{_list(rate_findings(search))}"
        f"{_figure(Picture('learning_rates', svg, caption))}{table}"
    )


def _more_tables(comparison: Comparison) -> str:
    return "".join(
        f"<h3>{escape(table.name)}</h3>{_table(table, f'{table.name} of {comparison.title}')}"
        for table in comparison_tables(comparison, comparison.splits[0])
    )


def _filter(name: str, what: str, choices: Mapping[str, str], *, is_id: bool = False) -> str:
    options = "".join(
        f'<option value="{escape(value)}">{escape(text)}</option>'
        for value, text in {"": "all", **choices}.items()
    )
    place = f'id="{name}"' if is_id else f'data-part="{name}"'
    return (
        f'<div class="controls" {place} data-needs-script hidden>'
        '<label>Filter <input type="search" placeholder="words in a row, as rank 1"></label>'
        f"<label>{what} <select>{options}</select></label>"
        '<span class="soft" role="status"></span></div>'
    )


def _select(name: str, label: str, values: Sequence[Any], chosen: Any, text: Any) -> str:
    options = "".join(
        f'<option value="{_key(value)}"{" selected" if value == chosen else ""}>'
        f"{escape(text(value))}</option>"
        for value in values
    )
    return f'<label>{label} <select data-part="{name}">{options}</select></label>'


def _group_table(comparison: Comparison, links: Mapping[Path, str]) -> str:
    method, structure, *settings = group_columns(comparison)
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
        number("seconds", "seconds", "{:.0f}".format),
        Column("trials by seed", "records", lambda trials: _by_seed(trials, links), "markup"),
    ]
    choices = [
        f'data-group="g{place}" data-choice="{method.key}"'
        for place, method in comparison.groups.method.items()
    ]
    table = Table("groups", "Structures", columns, comparison.groups)
    return _table(table, f"Structures of {comparison.title}", choices)


def _by_seed(trials: Sequence[Trial], links: Mapping[Path, str]) -> str:
    return " ".join(_link(t, links, "?" if t.seed is None else t.seed) for t in trials)


def _trial_section(runs: pd.DataFrame, parts: Sequence[Part], links: Mapping[Path, str]) -> str:
    compared = pd.concat(
        [pd.Series(dtype=object), *(part.comparison.runs.structure for part in parts)]
    )
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
    table = Table("trials", "All trials", columns, runs.assign(structure=compared))
    states = {state: state for state in runs.state.unique()}
    choices = [f'data-choice="{state}"' for state in runs.state]
    return (
        '<section aria-labelledby="trials-title"><h2 id="trials-title">All trials</h2>'
        f"{_filter('trial-filter', 'state', states, is_id=True)}"
        f"{_table(table, 'All trials', choices)}</section>"
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
    caption = escape(picture.caption)
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
    keys = groups.method.map(lambda method: method.key)
    own = {key: near_dense.pareto_front(g, size) for key, g in groups.groupby(keys, sort=False)}
    return {
        "all": list(near_dense.pareto_front(groups, size).index),
        "methods": {key: list(front.index) for key, front in own.items()},
    }


def _methods(comparison: Comparison) -> dict[str, str]:
    return {method.key: method.label for method in comparison.methods}


def _key(value: float | str) -> str:
    return f"{value:g}" if isinstance(value, float) else value


def _script_json(data: Any) -> str:
    """Returns JSON in which nothing can end the script element that it stands in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
