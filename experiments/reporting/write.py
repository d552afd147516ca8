"""Makes a report: reads the trials and writes every file of it."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from experiments.reporting.compare import (
    Comparison,
    compare,
    learning_rates,
    near_dense,
    series_of,
)
from experiments.reporting.pages import Part, Picture, page, summary
from experiments.reporting.pictures import (
    budget_figure,
    curve_figure,
    rate_figure,
    series_figure,
    start_figure,
    style,
    tradeoff_figure,
)
from experiments.reporting.sentences import headline, rate_findings, what_is_missing
from experiments.reporting.tables import write_groups, write_rates, write_trials
from experiments.reporting.trials import folder_names, keep, read_runs

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
    runs = read_runs(workdirs)
    comparisons = [comparison for comparison in compare(runs) if comparison.splits]
    missing = what_is_missing(runs, comparisons)
    out = Path(out).expanduser().absolute()
    out.mkdir(parents=True, exist_ok=True)
    links = {folder: Path(os.path.relpath(folder, out)).as_posix() for folder in runs.folder}

    keep(runs.record, out)
    write_trials(out / "trials", runs, comparisons, links)
    write_groups(out / "groups", comparisons)
    for old in out.iterdir():
        if re.fullmatch(_MAY_BE_STALE, old.name):
            old.unlink()
    parts = []
    for comparison in comparisons:
        suffix = f"-{_slug(comparison.title)}" if len(comparisons) > 1 else ""
        near = near_dense.default_tolerance(comparison, comparison.splits[0])
        parts.append(
            Part(
                comparison,
                near if tolerance is None else float(tolerance),
                _draw(comparison, out, suffix),
                _draw_rates(comparison, runs, out, suffix),
            )
        )
    searches = [(part.comparison, search) for part in parts for search, _ in part.rates]
    write_rates(out / "learning_rates", searches)
    (out / "summary.md").write_text(summary(parts, missing))
    title = ", ".join(folder_names(workdirs))
    created = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    (out / "index.html").write_text(page(runs, parts, missing, links, created, title))
    said = [
        f"{part.comparison.title}: {sentence}"
        for part in parts
        for sentence in (
            *headline(part.comparison, part.comparison.splits[0], "parameters", part.tolerance),
            *(sentence for search, _ in part.rates for sentence in rate_findings(search)),
        )
    ]
    return said + missing


def _draw(comparison: Comparison, out: Path, suffix: str) -> list[Picture]:
    """Draws a comparison's pictures; the trade-off is always there and comes first."""
    split = comparison.splits[0]
    made = {
        "tradeoff": (tradeoff_figure(comparison, split), f"{split} error against size"),
        "budgets": (
            budget_figure(comparison, split),
            f"structures at about equal {comparison.size_label('layer_parameters')}; bars are the "
            "standard deviation over seeds",
        ),
        "curves": (
            curve_figure(comparison, split),
            "learning curves, mean over seeds; bands are the standard deviation",
        ),
        "starts": (
            start_figure(comparison, split),
            f"{split} error against size, of models trained from scratch and of decomposed ones",
        ),
        "series": (
            series_figure(comparison, split, series_of(comparison, split)),
            f"{split} error of KFC and low rank against size, for every start and trunk",
        ),
    }
    return [
        Picture(
            name,
            style.save(figure, out / f"{name}{suffix}")[1],
            f"{comparison.title}: {caption}.",
        )
        for name, (figure, caption) in made.items()
        if figure
    ]


def _draw_rates(
    comparison: Comparison, runs: pd.DataFrame, out: Path, suffix: str
) -> list[tuple[learning_rates.RateSearch, Path]]:
    """Draws a comparison's searches for learning rates, numbered from the second on."""
    drawn = []
    for number, search in enumerate(learning_rates.rate_searches(comparison, runs), 1):
        path = out / f"learning_rates{suffix}{f'-{number}' if number > 1 else ''}"
        drawn.append((search, style.save(rate_figure(search, comparison.title), path)[1]))
    return drawn


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
