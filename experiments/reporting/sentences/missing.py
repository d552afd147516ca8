"""What a report cannot show yet, or must not hide."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from experiments.reporting.compare import Comparison
from experiments.reporting.wording import code, shortened

_MOST_NAMES = 8

_WHAT = {
    "pending": "not started",
    "running": "running, or cut off",
    "unfinished": "started and not finished",
    "stopped": "stopped early",
    "failed": "failed",
    "unreadable": "finished with a damaged result",
}


def what_is_missing(runs: pd.DataFrame, comparisons: Sequence[Comparison]) -> list[str]:
    """Returns sentences on unfinished trials, repeated ones and uneven numbers of seeds."""
    sentences = []
    for sweep, own in runs.groupby("sweep", sort=False):
        sentences += _unfinished(sweep, own)
    for comparison in comparisons:
        sentences += _repeated(comparison) + _uneven(comparison) + _unlike(comparison)
    return sentences


def last_line(text: str) -> str:
    """Returns the last line with anything on it, shortened and without backticks."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return shortened(lines[-1] if lines else "", 300).replace("`", "'")


def _unfinished(sweep: str, runs: pd.DataFrame) -> list[str]:
    counts = runs.state.value_counts()
    done = counts.get("done", 0)
    if done == len(runs):
        return []
    parts = [f"{counts[state]} {what}" for state, what in _WHAT.items() if state in counts]
    sentences = [f"{code(sweep)}: {done} of {len(runs)} trials done; {', '.join(parts)}."]
    for state in ("failed", "unreadable", "stopped"):
        found = runs[runs.state == state]
        for run in found.head(_MOST_NAMES).itertuples():
            why = last_line(run.problem)
            sentences.append(f"{code(run.trial)} {_WHAT[state]}" + (f": {why}" if why else "."))
        if len(found) > _MOST_NAMES:
            sentences.append(f"{len(found) - _MOST_NAMES} more {_WHAT[state]}; see the table.")
    return sentences


def _repeated(comparison: Comparison) -> list[str]:
    repeated = comparison.repeated.trial
    if not len(repeated):
        return []
    names = [code(name) for name in repeated.head(_MOST_NAMES)]
    more = len(repeated) - len(names)
    listed = ", ".join(names) + (f" and {more} more" if more else "")
    return [f"Repeats of a config and a seed that are there already do not count: {listed}."]


def _uneven(comparison: Comparison) -> list[str]:
    sentences = []
    for split in comparison.splits:
        if without := len(comparison.groups) - len(comparison.on(split)):
            sentences.append(
                f"{without} of {len(comparison.groups)} groups of {comparison.title} have no "
                f"{split} error, and are left out where it is compared."
            )
    counts = comparison.groups.records.map(len).value_counts().sort_index(ascending=False)
    if len(counts) > 1:
        listed = ", ".join(
            f"{number} with {n} {'seed' if n == 1 else 'seeds'}" for n, number in counts.items()
        )
        sentences.append(f"The groups of {comparison.title} differ in seeds: {listed}.")
    return sentences


def _unlike(comparison: Comparison) -> list[str]:
    if comparison.groups.settings.nunique() < 2:
        return []
    return [
        f"The groups of {comparison.title} differ in settings; every structure is compared at its "
        "best, chosen on the validation split where there is one."
    ]
