"""Tables inside a document, written from kept runs: between marks that name runs and table.

    <!-- table results/svhn: Near dense -->
    anything, replaced
    <!-- end of table -->

Folders are relative to the document; several, with spaces between them, are one report. A name may
go on with `, rows with TEXT`: then the table has only these. A file of claims gives a table of some
of them, or of all:

    <!-- claims results/claims.toml: kfc-2 kfc-8 -->
    <!-- claims results/claims.toml: all -->

Runs whose folder has a `summary.md` give the text below one of its headings:

    <!-- summary results/any_model: What falls short -->
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from experiments.reporting.compare import compare
from experiments.reporting.evidence import check_claims, claims_table
from experiments.reporting.pages import tables
from experiments.reporting.trials import read_runs
from experiments.system import write_file

_BEGIN = re.compile(r"<!-- (table|claims|summary) ([^:\n]+): ([^\n]+?) -->\n")
_END = "<!-- end of table -->"
_ONLY = ", rows with "


def fill(document: str | os.PathLike[str]) -> int:
    """Writes every marked table of a Markdown document anew; returns how many there are.

    Raises:
      ValueError: as `filled`. Nothing is written then.
      OSError: if the document cannot be read or written.
    """
    text = filled(document)
    write_file(Path(document).expanduser(), text)
    return len(_BEGIN.findall(text))


def filled(document: str | os.PathLike[str]) -> str:
    """Returns the text of a Markdown document with every marked table made anew.

    Raises:
      ValueError: if there is no mark, a mark has no end, its folders hold no finished trials or
        those of several data sets or models, there is no such table, row, claim or heading, or the
        claims cannot be checked.
      OSError: if the document cannot be read.
    """
    path = Path(document).expanduser()
    parts = _BEGIN.split(path.read_text())
    if len(parts) == 1:
        raise ValueError(
            f"{path} has no marks for tables; write <!-- table FOLDER: NAME --> and {_END}, each "
            "on its own line, where one belongs."
        )
    made: dict[str, dict[str, list[str]]] = {}
    text = parts[0]
    for what, folders, name, rest in zip(*(parts[i::4] for i in range(1, 5)), strict=True):
        _, end, after = rest.partition(_END)
        if not end:
            raise ValueError(f"{path}: the table {folders}: {name} has no {_END} below it.")
        if what != "table":
            lines = {"claims": _claims, "summary": _section}[what](path, folders, name)
            text += f"<!-- {what} {folders}: {name} -->\n\n{lines}\n\n{_END}{after}"
            continue
        if folders not in made:
            made[folders] = _tables(path, folders)
        title, _, wanted = name.partition(_ONLY)
        if title not in made[folders]:
            raise ValueError(
                f"{path}: {folders} has no table {title!r}; take one of {', '.join(made[folders])}."
            )
        head, rows = made[folders][title][:2], made[folders][title][2:]
        rows = [row for row in rows if wanted in row]
        if not rows:
            raise ValueError(f"{path}: no row of {folders}: {title} has {wanted!r}; take less.")
        lines = "\n".join(head + rows)
        text += f"<!-- table {folders}: {name} -->\n\n{lines}\n\n{_END}{after}"
    return text


def _claims(document: Path, file: str, names: str) -> str:
    verdicts = {v.claim.id: v for v in check_claims(document.parent / file)}
    wanted = list(verdicts) if names == "all" else names.split()
    if unknown := [name for name in wanted if name not in verdicts]:
        raise ValueError(
            f"{document}: {file} has no claim {', '.join(unknown)}; take some of "
            f"{', '.join(verdicts)}."
        )
    return "\n".join(claims_table([verdicts[name] for name in wanted]))


def _section(document: Path, folder: str, heading: str) -> str:
    """Returns what a summary has below a heading."""
    _, *sections = (document.parent / folder / "summary.md").read_text().split("\n## ")
    found = dict(section.split("\n", 1) for section in sections)
    if heading not in found:
        raise ValueError(
            f"{document}: the summary in {folder} has no heading {heading!r}; take one of "
            f"{', '.join(found)}."
        )
    return found[heading].strip()


def _tables(document: Path, folders: str) -> dict[str, list[str]]:
    comparisons = compare(read_runs([document.parent / folder for folder in folders.split()]))
    if len(comparisons) != 1:
        titles = ", ".join(comparison.title for comparison in comparisons)
        raise ValueError(
            f"{document}: {folders} must hold finished trials of one data set and model, and "
            f"holds {titles or 'none'}."
        )
    return tables(comparisons[0], comparisons[0].splits[0])
