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

from experiments.reporting.compare.groups import SIZES, Comparison, Group
from experiments.reporting.compare.learning_rates import RateSearch
from experiments.reporting.compare.methods import in_order
from experiments.reporting.compare.near_dense import TOLERANCES, pareto_front
from experiments.reporting.sentences.headline import headline
from experiments.reporting.sentences.learning_rates import rate_findings
from experiments.reporting.tables.all import comparison_tables
from experiments.reporting.tables.cell_table import CellTable
from experiments.reporting.tables.learning_rates import rate_table
from experiments.reporting.trials.trial import SPLITS, Trial
from experiments.reporting.wording import count, percent, points, spread

_HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of the page.

    Attributes:
      svg: its file.
      caption: what it shows, in words.
      is_plot: whether the page's own plot shows the same, so that it is needed without scripts.
    """

    svg: Path
    caption: str
    is_plot: bool = False


def page(
    trials: Sequence[Trial],
    comparisons: Sequence[Comparison],
    tolerances: Sequence[float],
    missing: Sequence[str],
    pictures: Mapping[str, Sequence[Picture]],
    rates: Mapping[str, Sequence[tuple[RateSearch, Path]]],
    links: Mapping[Path, str],
    created: str,
) -> str:
    """Returns the page.

    Args:
      trials: all trials.
      comparisons: their groups.
      tolerances: for every comparison, the points of error above dense to accept at first.
      missing: sentences on what the report lacks.
      pictures: by a comparison's title.
      rates: by a comparison's title, its searches for learning rates with their pictures (SVG).
      links: by a trial's folder, the path to it from the page.
      created: when the report was made, for people.
    """
    sweeps = ", ".join(dict.fromkeys(trial.sweep for trial in trials))
    done = sum(trial.outcome is not None for trial in trials)
    body = [
        f"<header><h1>Report: {escape(sweeps)}</h1>"
        f'<p class="soft">{done} of {len(trials)} trials done. Made {escape(created)}.</p>',
        "</header>",
        "<main>",
        _missing(missing),
        *(
            _comparison(i, c, t, pictures.get(c.title, ()), rates.get(c.title, ()), links)
            for i, (c, t) in enumerate(zip(comparisons, tolerances, strict=True))
        ),
        _trial_section(trials, comparisons, links),
        "</main>",
    ]
    data = {
        "comparisons": [
            _data(comparison, tolerance)
            for comparison, tolerance in zip(comparisons, tolerances, strict=True)
        ]
    }
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
            f"<title>Report: {escape(sweeps)}</title>",
            f"<style>\n{(_HERE / 'page.css').read_text()}</style></head>",
            "<body>",
            *body,
            f'<script type="application/json" id="report-data">{_script_json(data)}</script>',
            f"<script>\n{(_HERE / 'page.js').read_text()}</script>",
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


def _comparison(
    index: int,
    comparison: Comparison,
    tolerance: float,
    pictures: Sequence[Picture],
    rates: Sequence[tuple[RateSearch, Path]],
    links: Mapping[Path, str],
) -> str:
    split = comparison.splits[0]
    said = headline(comparison, split, "parameters", tolerance)
    name = f"comparison-{index}"
    choices = sorted({*TOLERANCES, tolerance})
    controls = " ".join(
        [
            _select("points", "near dense means within", choices, tolerance, points),
            _select("size", "smallest by", SIZES, "parameters", comparison.size_label),
            _select("split", "error on", comparison.splits, split, str),
            '<label><input type="checkbox" data-part="log" checked> logarithmic error</label>',
        ]
    )
    static = [picture for picture in pictures if not picture.is_plot]
    fallback = "".join(_figure(picture) for picture in pictures if picture.is_plot)
    return f"""
<section id="{name}" aria-labelledby="{name}-title">
<h2 id="{name}-title">{escape(comparison.title)}</h2>
<div class="controls" data-needs-script hidden>{controls}</div>
<div class="headline">{_list(said, 'data-part="headline" aria-live="polite"')}</div>
<div data-needs-script hidden>
<h3>Error against size</h3>
<p class="soft">Every point is a structure, its bar the standard deviation over seeds; lines join a
method's best points, its other points are pale, rings mark the Pareto front of all methods. Hover
over a point or move to it with Tab for its details; click it, or press Enter, to find it in the
table. Points that the table's filter leaves out fade.</p>
<div class="controls legend" data-part="legend" aria-label="Methods"></div>
<div class="plot" data-part="plot">
<div class="tip" data-part="tip" role="tooltip" hidden></div>
</div>
</div>
<noscript>{fallback}</noscript>
<h3>Structures</h3>
{_filter("group-filter", "method", _methods(comparison))}
{_group_table(comparison, links)}
{"".join(_figure(picture) for picture in static)}
{_more_tables(comparison)}
{"".join(_rates(comparison, search, svg) for search, svg in rates)}
</section>"""


def _rates(comparison: Comparison, search: RateSearch, svg: Path) -> str:
    about = f" with <code>{escape(search.settings)}</code>" if search.settings else ""
    caption = (
        f"{comparison.title}: {search.split} error against learning rate; hollow marks at the top "
        "of a panel are of higher errors."
    )
    name = f"Learning rates of {comparison.title} {search.settings}".strip()
    table = _table_of_cells(name, rate_table(search))
    return (
        f"<h3>Learning rates{about}</h3>{_list(rate_findings(search))}"
        f"{_figure(Picture(svg, caption))}{table}"
    )


def _more_tables(comparison: Comparison) -> str:
    return "".join(
        f"<h3>{escape(table.name)}</h3>"
        + _table_of_cells(f"{table.name} of {comparison.title}", table)
        for table in comparison_tables(comparison, comparison.splits[0])
    )


def _table_of_cells(name: str, table: CellTable) -> str:
    """Returns a table of texts with the numbers that they stand for."""
    lines = [
        "<tr>"
        + "".join(
            _number(number, text)
            if i >= table.text_columns
            else _cell(f"<code>{escape(text)}</code>" if i in table.structures else escape(text))
            for i, (text, number) in enumerate(cells)
        )
        + "</tr>"
        for cells in table.rows
    ]
    columns = [(title, i >= table.text_columns) for i, title in enumerate(table.head)]
    return _table(table.key, name, columns, lines)


def _filter(name: str, what: str, choices: Mapping[str, str], *, is_id: bool = False) -> str:
    options = "".join(
        f'<option value="{escape(value)}">{escape(text)}</option>'
        for value, text in {"": "all", **choices}.items()
    )
    place = f'id="{name}"' if is_id else f'data-part="{name}"'
    return (
        f'<div class="controls" {place} data-needs-script hidden>'
        f'<label>Filter <input type="search" placeholder="words that a row must contain"></label>'
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
    columns = [("method", False), ("structure", False)]
    columns += [("settings", False)] if comparison.has_settings else []
    columns += [(f"{split} error", True) for split in comparison.splits]
    columns += [("layer parameters", True), ("fewer in layer", True), ("total parameters", True)]
    columns += [("fewer in total", True), ("FLOPs per example", True)]
    columns += [("seconds", True), ("trials by seed", False)]
    rows = []
    for index, group in enumerate(comparison.groups):
        cells = [
            _cell(group.method.label),
            _cell(f"<code>{escape(group.structure)}</code>", "name"),
        ]
        if comparison.has_settings:
            cells.append(_cell(escape(group.settings)))
        for split in comparison.splits:
            error = group.error(split)
            cells.append(_number(error and error.mean, spread(error) if error else ""))
        for size in ("layer_parameters", "parameters"):
            cells.append(_number(group.sizes[size], count(group.sizes[size])))
            reduction = group.reduction(size)
            cells.append(_number(reduction, percent(reduction, 2)))
        cells.append(_number(group.sizes["flops"], count(group.sizes["flops"])))
        cells.append(_number(group.seconds, f"{group.seconds:.0f}"))
        seeds = [
            _link(trial, links, "?" if trial.seed is None else trial.seed) for trial in group.trials
        ]
        cells.append(_cell(" ".join(seeds)))
        choice = f'data-group="g{index}" data-choice="{group.method.key}"'
        rows.append(f"<tr {choice}>{''.join(cells)}</tr>")
    return _table("groups", f"Structures of {comparison.title}", columns, rows)


def _trial_section(
    trials: Sequence[Trial], comparisons: Sequence[Comparison], links: Mapping[Path, str]
) -> str:
    groups = {t.folder: g for c in comparisons for g in c.groups for t in g.trials}
    columns = [("sweep", False), ("trial", False), ("state", False), ("seed", True)]
    columns += [("structure", False), ("total parameters", True)]
    columns += [(f"{split} error", True) for split in SPLITS]
    columns += [("seconds", True), ("command and problems", False)]
    rows = []
    for trial in trials:
        outcome, group = trial.outcome, groups.get(trial.folder)
        structure = f"<code>{escape(group.structure)}</code>" if group else ""
        cells = [
            _cell(escape(trial.sweep)),
            _cell(_link(trial, links, trial.name), "name"),
            _cell(trial.state),
            _number(trial.seed, "" if trial.seed is None else str(trial.seed)),
            _cell(structure, "name"),
            _number(outcome.parameters, count(outcome.parameters)) if outcome else _number(),
        ]
        for split in SPLITS:
            error = outcome.errors.get(split) if outcome else None
            cells.append(_number(error, "" if error is None else f"{error:.2%}"))
        cells.append(_number(outcome.seconds, f"{outcome.seconds:.0f}") if outcome else _number())
        cells.append(_cell(_details(trial)))
        rows.append(f'<tr data-choice="{trial.state}">{"".join(cells)}</tr>')
    states = {trial.state: trial.state for trial in trials}
    return (
        '<section aria-labelledby="trials-title"><h2 id="trials-title">All trials</h2>'
        f"{_filter('trial-filter', 'state', states, is_id=True)}"
        f"{_table('trials', 'All trials', columns, rows)}</section>"
    )


def _details(trial: Trial) -> str:
    parts = []
    if trial.command:
        parts.append(
            f"<details><summary>command</summary><pre>{escape(trial.command)}</pre></details>"
        )
    if trial.problem:
        parts.append(
            f"<details><summary>problem</summary><pre>{escape(trial.problem)}</pre></details>"
        )
    return "".join(parts)


def _table(kind: str, name: str, columns: Sequence[tuple[str, bool]], rows: Sequence[str]) -> str:
    head = "".join(
        f'<th scope="col"{" class=number" if is_number else ""}>'
        f'<button type="button">{escape(title)}</button></th>'
        for title, is_number in columns
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}">'
        f'<table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(content: str, kind: str = "") -> str:
    return f'<td class="{kind}">{content}</td>' if kind else f"<td>{content}</td>"


def _number(value: float | None = None, text: str = "") -> str:
    """Returns a cell that sorts by `value`, whatever its text."""
    sort_by = "" if value is None else escape(str(value))
    return f'<td class="number" data-value="{sort_by}">{escape(text)}</td>'


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
    ids = {id(group): f"g{index}" for index, group in enumerate(comparison.groups)}
    dense = {split: comparison.dense(split) for split in comparison.splits}
    return {
        "methods": {
            method.key: dataclasses.asdict(method)
            for method in in_order(group.method for group in comparison.groups)
        },
        "sizes": {size: comparison.size_label(size) for size in SIZES},
        "groups": [_point(group, ids[id(group)], comparison) for group in comparison.groups],
        "dense": {split: group and ids[id(group)] for split, group in dense.items()},
        "fronts": {
            split: {size: _fronts(comparison, size, split, ids) for size in SIZES}
            for split in comparison.splits
        },
        "headlines": {
            split: {
                size: {
                    _key(t): headline(comparison, split, size, t) for t in {*TOLERANCES, tolerance}
                }
                for size in SIZES
            }
            for split in comparison.splits
        },
    }


def _point(group: Group, name: str, comparison: Comparison) -> dict[str, Any]:
    errors = {split: group.error(split) for split in comparison.splits}
    return {
        "id": name,
        "method": group.method.key,
        "label": group.label,
        "settings": group.settings,
        "sizes": group.sizes,
        "reductions": {size: group.reduction(size) for size in SIZES},
        "errors": {split: error and dataclasses.asdict(error) for split, error in errors.items()},
        "is_best": group.is_best,
        "command": group.trials[0].command,
    }


def _fronts(
    comparison: Comparison, size: str, split: str, ids: Mapping[int, str]
) -> dict[str, Any]:
    groups = comparison.at_best(split)

    def front(members: Sequence[Group]) -> list[str]:
        return [ids[id(group)] for group in pareto_front(members, size, split)]

    methods = {
        method.key: [g for g in groups if g.method == method]
        for method in in_order(group.method for group in groups)
    }
    return {
        "all": front(groups),
        "methods": {key: front(members) for key, members in methods.items() if members},
    }


def _methods(comparison: Comparison) -> dict[str, str]:
    return {group.method.key: group.method.label for group in comparison.groups}


def _key(value: float | str) -> str:
    return f"{value:g}" if isinstance(value, float) else value


def _script_json(data: Any) -> str:
    """Returns JSON in which nothing can end the script element that it stands in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
