"""Makes a report: reads the trials and writes every file of it."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Sequence
from pathlib import Path

from experiments.reporting.compare import Comparison, compare, learning_rates, near_dense
from experiments.reporting.pages import Part, Picture, page, rates_name, summary
from experiments.reporting.pictures import (
    budget_figure,
    curve_figure,
    rate_figure,
    series_figure,
    start_figure,
    style,
    tradeoff_figure,
)
from experiments.reporting.sentences import rate_findings, what_is_missing
from experiments.reporting.tables import files
from experiments.reporting.trials import folder_names, keep, read_runs

# Files that a report does not always have, so that an earlier one may have left them.
_MAY_BE_STALE = (
    r"(tradeoff|budgets|curves|starts|series|learning_rates)(-.*)?\.(png|svg)"
    r"|learning_rates\.(csv|parquet)"
)
_BARS = "bars and bands are the standard deviation over seeds"
_HOLLOW = "hollow marks at the top of a panel are of higher errors"


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
    runs = read_runs(workdirs)
    comparisons = compare(runs)
    missing = what_is_missing(runs, comparisons)
    out = Path(out).expanduser().absolute()
    out.mkdir(parents=True, exist_ok=True)
    links = {folder: Path(os.path.relpath(folder, out)).as_posix() for folder in runs.folder}

    keep(runs.record, out)
    files.write_trials(out / "trials", runs, comparisons, links)
    files.write_groups(out / "groups", comparisons)
    for old in out.iterdir():
        if re.fullmatch(_MAY_BE_STALE, old.name):
            old.unlink()
    parts = []
    for comparison in comparisons:
        suffix = f"-{_slug(comparison.title)}" if len(comparisons) > 1 else ""
        near = tolerance
        if near is None:
            near = near_dense.default_tolerance(comparison, comparison.splits[0])
        searches = learning_rates.rate_searches(comparison, runs)
        pictures = _draw(comparison, searches, out, suffix)
        parts.append(Part(comparison, float(near), searches, pictures))
    files.write_rates(
        out / "learning_rates", [search for part in parts for search in part.searches]
    )
    (out / "summary.md").write_text(summary(parts, missing))
    title = ", ".join(folder_names(workdirs))
    created = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    (out / "index.html").write_text(page(runs, parts, missing, links, created, title))
    said = [
        f"{part.comparison.title}: {sentence}"
        for part in parts
        for found in (part.headline, *map(rate_findings, part.searches))
        for sentence in found
    ]
    return said + missing


def _draw(
    comparison: Comparison,
    searches: Sequence[learning_rates.RateSearch],
    out: Path,
    suffix: str,
) -> dict[str, Picture]:
    """Draws and returns a comparison's pictures by name, as far as there is something to draw."""
    split = comparison.splits[0]
    rates = {
        rates_name(number): rate_figure(search, comparison.title)
        for number, search in enumerate(searches, 1)
    }
    made = {
        "tradeoff": tradeoff_figure(comparison, split),
        "budgets": budget_figure(comparison, split),
        "curves": curve_figure(comparison, split),
        "starts": start_figure(comparison, split),
        "series": series_figure(comparison, split),
    }
    return {
        name: Picture(
            style.save(figure, out / f"{name}{suffix}")[1],
            figure.get_suptitle(),
            _HOLLOW if name in rates else _BARS,
        )
        for name, figure in (made | rates).items()
        if figure
    }


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
