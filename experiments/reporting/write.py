"""Makes a report: reads the trials and writes every file of it."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Sequence
from pathlib import Path

from experiments.reporting.compare.groups import Comparison, compare
from experiments.reporting.compare.learning_rates import RateSearch, rate_searches
from experiments.reporting.compare.near_dense import default_tolerance
from experiments.reporting.compare.series import has_both, series_of
from experiments.reporting.compare.starts import started_groups
from experiments.reporting.pages.html import Picture, page
from experiments.reporting.pages.markdown import markdown
from experiments.reporting.pictures.equal_size import budget_figure
from experiments.reporting.pictures.learning_curves import curve_figure
from experiments.reporting.pictures.learning_rates import rate_figure
from experiments.reporting.pictures.series import series_figure
from experiments.reporting.pictures.starts import start_figure
from experiments.reporting.pictures.style import save
from experiments.reporting.pictures.tradeoff import tradeoff_figure
from experiments.reporting.sentences.headline import headline
from experiments.reporting.sentences.learning_rates import rate_findings
from experiments.reporting.sentences.missing import what_is_missing
from experiments.reporting.tables.csv_files import (
    GROUP_COLUMNS,
    TRIAL_COLUMNS,
    group_rows,
    trial_rows,
    write_table,
)
from experiments.reporting.tables.learning_rates import RATE_COLUMNS, rate_rows
from experiments.reporting.trials.kept import keep
from experiments.reporting.trials.read import read_sweeps

# Files that a report does not always have, so that an earlier one may have left them.
_MAY_BE_STALE = (
    r"(tradeoff|budgets|curves|starts|series|learning_rates)(-.*)?\.(png|svg)"
    r"|learning_rates\.(csv|parquet)"
)


def write_report(
    workdirs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    tolerance: float | None = None,
) -> list[str]:
    """Writes the report of one or more sweeps, finished or not, into the folder `out`.

    It writes `index.html` (one self-contained page), `summary.md`, `trials` and `groups` as CSV and
    Parquet, `runs.jsonl` (from which a report can be made anew without the runs' folders), and the
    pictures `tradeoff`, `budgets` and `curves` as PNG and SVG (with the data set and the model in
    their names where there are several). Where a structure was trained at several learning rates,
    it adds `learning_rates`, a picture and a table; where some were decomposed from a trained
    model, the picture `starts`; where both KFC and low rank were, `series` and tables that compare
    them at equal sizes and at equal errors.

    Args:
      workdirs: work folders of sweeps, folders of run folders, single run folders, or the folders
        of other reports.
      out: the report's folder; files of an earlier report in it are replaced.
      tolerance: percentage points of error above dense that are acceptable in the headline.
        Default: about a tenth of the dense error.

    Returns:
      The headline, what learning rates show, and what is missing, sentence by sentence.

    Raises:
      ValueError: if a folder holds no trial, or the tolerance is negative.
      OSError: if `out` cannot be written.
    """
    if tolerance is not None and not 0 <= tolerance <= 100:
        raise ValueError(f"The tolerance is {tolerance:g} points; take one from 0 to 100.")
    trials = read_sweeps(workdirs)
    comparisons = [comparison for comparison in compare(trials) if comparison.splits]
    missing = what_is_missing(trials, comparisons)
    out = Path(out).expanduser().absolute()
    out.mkdir(parents=True, exist_ok=True)
    links = {t.folder: Path(os.path.relpath(t.folder, out)).as_posix() for t in trials}

    keep(trials, out)
    write_table(out / "trials", trial_rows(trials, comparisons, links), TRIAL_COLUMNS)
    write_table(out / "groups", group_rows(comparisons), GROUP_COLUMNS)
    tolerances = [
        default_tolerance(c, c.splits[0]) if tolerance is None else float(tolerance)
        for c in comparisons
    ]
    for old in out.iterdir():
        if re.fullmatch(_MAY_BE_STALE, old.name):
            old.unlink()
    suffixes = [f"-{_slug(c.title)}" if len(comparisons) > 1 else "" for c in comparisons]
    pictures = {
        comparison.title: _draw(comparison, out, suffix)
        for comparison, suffix in zip(comparisons, suffixes, strict=True)
    }
    searches = {c.title: rate_searches(c, trials) for c in comparisons}
    rates = {
        c.title: _draw_rates(c, searches[c.title], out, suffix)
        for c, suffix in zip(comparisons, suffixes, strict=True)
    }
    if rows := rate_rows((c, search) for c in comparisons for search in searches[c.title]):
        write_table(out / "learning_rates", rows, RATE_COLUMNS)
    shown = {
        title: {p.svg.name.partition("-")[0].partition(".")[0]: _png(p) for p in made}
        for title, made in pictures.items()
    }
    (out / "summary.md").write_text(markdown(comparisons, tolerances, missing, shown, rates))
    created = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    (out / "index.html").write_text(
        page(trials, comparisons, tolerances, missing, pictures, rates, links, created)
    )
    said = [
        f"{comparison.title}: {sentence}"
        for comparison, points in zip(comparisons, tolerances, strict=True)
        for sentence in (
            *headline(comparison, comparison.splits[0], "parameters", points),
            *(said for search in searches[comparison.title] for said in rate_findings(search)),
        )
    ]
    return said + missing


def _png(picture: Picture) -> str:
    return picture.svg.with_suffix(".png").name


def _draw(comparison: Comparison, out: Path, suffix: str) -> list[Picture]:
    """Draws a comparison's pictures; the trade-off is always there and comes first."""
    split = comparison.splits[0]
    started, series = started_groups(comparison, split), series_of(comparison, split)
    made = [
        ("tradeoff", tradeoff_figure(comparison, split), f"{split} error against size"),
        (
            "budgets",
            budget_figure(comparison, split),
            f"structures at about equal {comparison.size_label('layer_parameters')}; bars are the "
            "standard deviation over seeds",
        ),
        (
            "curves",
            curve_figure(comparison, split),
            "learning curves, mean over seeds; bands are the standard deviation",
        ),
        (
            "starts",
            start_figure(comparison, split, started) if started else None,
            f"{split} error against size, of models trained from scratch and of decomposed ones",
        ),
        (
            "series",
            series_figure(comparison, split, series) if has_both(series) else None,
            f"{split} error of KFC and low rank against size, for every start and trunk",
        ),
    ]
    pictures = []
    for name, figure, caption in made:
        if figure is None:
            continue
        _, svg = save(figure, out / f"{name}{suffix}")
        pictures.append(Picture(svg, f"{comparison.title}: {caption}.", name == "tradeoff"))
    return pictures


def _draw_rates(
    comparison: Comparison, searches: Sequence[RateSearch], out: Path, suffix: str
) -> list[tuple[RateSearch, Path]]:
    """Draws a comparison's searches for learning rates, numbered from the second on."""
    drawn = []
    for number, search in enumerate(searches, 1):
        path = out / f"learning_rates{suffix}{f'-{number}' if number > 1 else ''}"
        _, svg = save(rate_figure(search, comparison.title), path)
        drawn.append((search, svg))
    return drawn


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
