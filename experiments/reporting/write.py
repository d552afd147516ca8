"""Makes a report: reads the trials and writes every file of it."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Sequence
from pathlib import Path

from experiments.reporting.compare import (
    Comparison,
    compare,
    learning_rates,
    near_dense,
    series_of,
)
from experiments.reporting.pages import Picture, page, summary
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
from experiments.reporting.trials import keep, read_runs

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
    tolerances = [
        near_dense.default_tolerance(c, c.splits[0]) if tolerance is None else float(tolerance)
        for c in comparisons
    ]
    for old in out.iterdir():
        if re.fullmatch(_MAY_BE_STALE, old.name):
            old.unlink()
    pictures, searches, rates = {}, {}, {}
    for c in comparisons:
        suffix = f"-{_slug(c.title)}" if len(comparisons) > 1 else ""
        pictures[c.title] = _draw(c, out, suffix)
        searches[c.title] = learning_rates.rate_searches(c, runs)
        rates[c.title] = _draw_rates(c, searches[c.title], out, suffix)
    write_rates(out / "learning_rates", ((c, s) for c in comparisons for s in searches[c.title]))
    shown = {
        title: {p.svg.name.partition("-")[0].partition(".")[0]: _png(p) for p in made}
        for title, made in pictures.items()
    }
    (out / "summary.md").write_text(summary(comparisons, tolerances, missing, shown, rates))
    created = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    (out / "index.html").write_text(
        page(runs, comparisons, tolerances, missing, pictures, rates, links, created)
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
            style.save(figure, out / f"{name}{suffix}")[1],
            f"{comparison.title}: {caption}.",
            name == "tradeoff",
        )
        for name, (figure, caption) in made.items()
        if figure
    ]


def _draw_rates(
    comparison: Comparison, searches: Sequence[learning_rates.RateSearch], out: Path, suffix: str
) -> list[tuple[learning_rates.RateSearch, Path]]:
    """Draws a comparison's searches for learning rates, numbered from the second on."""
    drawn = []
    for number, search in enumerate(searches, 1):
        path = out / f"learning_rates{suffix}{f'-{number}' if number > 1 else ''}"
        _, svg = style.save(rate_figure(search, comparison.title), path)
        drawn.append((search, svg))
    return drawn


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
