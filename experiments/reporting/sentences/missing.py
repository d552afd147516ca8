"""What a report cannot show yet, or must not hide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from experiments.reporting.compare import Comparison
from experiments.reporting.trials import Trial
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


def what_is_missing(trials: Sequence[Trial], comparisons: Sequence[Comparison]) -> list[str]:
    """Returns sentences on unfinished trials, repeated ones and uneven numbers of seeds."""
    sentences = []
    for sweep in dict.fromkeys(trial.sweep for trial in trials):
        sentences += _unfinished(sweep, [trial for trial in trials if trial.sweep == sweep])
    for comparison in comparisons:
        sentences += _repeated(comparison) + _uneven(comparison) + _unlike(comparison)
    return sentences


def last_line(text: str) -> str:
    """Returns the last line with anything on it, shortened and without backticks."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return shortened(lines[-1] if lines else "", 300).replace("`", "'")


def _unfinished(sweep: str, trials: Sequence[Trial]) -> list[str]:
    counts = Counter(trial.state for trial in trials)
    if counts["done"] == len(trials):
        return []
    parts = [f"{counts[state]} {what}" for state, what in _WHAT.items() if counts[state]]
    sentences = [
        f"{code(sweep)}: {counts['done']} of {len(trials)} trials done; {', '.join(parts)}."
    ]
    for state in ("failed", "unreadable", "stopped"):
        found = [trial for trial in trials if trial.state == state]
        for trial in found[:_MOST_NAMES]:
            why = last_line(trial.problem)
            sentences.append(f"{code(trial.name)} {_WHAT[state]}" + (f": {why}" if why else "."))
        if len(found) > _MOST_NAMES:
            sentences.append(f"{len(found) - _MOST_NAMES} more {_WHAT[state]}; see the table.")
    return sentences


def _repeated(comparison: Comparison) -> list[str]:
    if not comparison.repeated:
        return []
    names = [code(trial.name) for trial in comparison.repeated[:_MOST_NAMES]]
    more = len(comparison.repeated) - len(names)
    listed = ", ".join(names) + (f" and {more} more" if more else "")
    return [f"Repeats of a config and a seed that are there already do not count: {listed}."]


def _uneven(comparison: Comparison) -> list[str]:
    sentences = []
    for split in comparison.splits:
        without = sum(group.error(split) is None for group in comparison.groups)
        if without:
            sentences.append(
                f"{without} of {len(comparison.groups)} groups of {comparison.title} have no "
                f"{split} error, and are left out where it is compared."
            )
    counts = Counter(len(group.trials) for group in comparison.groups)
    if len(counts) > 1:
        listed = ", ".join(
            f"{number} with {n} {'seed' if n == 1 else 'seeds'}"
            for n, number in sorted(counts.items(), reverse=True)
        )
        sentences.append(f"The groups of {comparison.title} differ in seeds: {listed}.")
    return sentences


def _unlike(comparison: Comparison) -> list[str]:
    if len({group.settings for group in comparison.groups}) < 2:
        return []
    return [
        f"The groups of {comparison.title} differ in settings; every structure is compared at its "
        "best, chosen on the validation split where there is one."
    ]
