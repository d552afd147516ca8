"""Where compressed models started: from scratch, or from a trained dense model, decomposed."""

from __future__ import annotations

import dataclasses
import statistics

from experiments.reporting.compare.groups import Comparison, Group
from experiments.reporting.trials.spread import Spread
from experiments.reporting.trials.trial import Trial

SCRATCH = "from scratch"
_DECOMPOSED = ("decomposed", "decomposed by data")
_REORDERED = tuple(f"{start}, reordered" for start in _DECOMPOSED)
STARTS = tuple(
    f"{start}{taught}"
    for start in (SCRATCH, *_DECOMPOSED, *_REORDERED)
    for taught in ("", ", distilled")
)


@dataclasses.dataclass(frozen=True)
class StartedGroup:
    """A group with the start that its trials have in common.

    Attributes:
      group: the group.
      start: one of STARTS.
      before: its error before training; None from scratch.
    """

    group: Group
    start: str
    before: Spread | None

    @property
    def output_error(self) -> Spread | None:
        """Relative error of the outputs of the decomposed layers, their mean; None from scratch."""
        errors = [
            statistics.fmean(trial.outcome.output_errors.values())
            for trial in self.group.trials
            if trial.outcome.output_errors
        ]
        return Spread.of(errors) if errors else None


def started_groups(comparison: Comparison, split: str) -> list[StartedGroup]:
    """Returns all groups of the structures that were decomposed by some trial, start by start.

    Of each start they are at all their settings, not at the best ones. They are in the order of the
    comparison's groups, then of STARTS. There are none if nothing was decomposed.
    """
    groups = [
        StartedGroup(group, start_of(group.trials[0]), _before(group, split))
        for group in comparison.groups
        if group.error(split)
    ]
    decomposed = {one.group.structure for one in groups if one.before}
    chosen = [one for one in groups if one.group.structure in decomposed]
    structures = [one.group.structure for one in chosen]
    return sorted(
        chosen, key=lambda s: (structures.index(s.group.structure), STARTS.index(s.start))
    )


def start_of(trial: Trial) -> str:
    """Returns which of STARTS a trial has."""
    start = SCRATCH
    if trial.config.get("compression.source"):
        kinds = _REORDERED if trial.config.get("compression.reordered") else _DECOMPOSED
        start = kinds[bool(trial.config["compression.weighted"])]
    return f"{start}, distilled" if trial.config.get("distillation.teacher") else start


def unordered(start: str) -> str:
    """Returns the same start without the reordering of hidden units."""
    return start.replace(", reordered", "")


def _before(group: Group, split: str) -> Spread | None:
    errors = [trial.outcome.before.get(split) for trial in group.trials]
    known = [error for error in errors if error is not None]
    return Spread.of(known) if known else None
