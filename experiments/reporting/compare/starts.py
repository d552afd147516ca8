"""Where compressed models started: from scratch, or from a trained dense model, decomposed."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

from experiments.reporting.compare.groups import Comparison, Group, Spread
from experiments.reporting.tables.cell_table import CellTable
from experiments.reporting.trials.trial import Trial
from experiments.reporting.wording import count, spread

SCRATCH = "from scratch"
_DECOMPOSED = ("decomposed", "decomposed by data")
_REORDERED = tuple(f"{start}, reordered" for start in _DECOMPOSED)
STARTS = tuple(
    f"{start}{taught}"
    for start in (SCRATCH, *_DECOMPOSED, *_REORDERED)
    for taught in ("", ", distilled")
)

_HEAD = (
    "method",
    "structure",
    "start",
    "parameters of the layers",
    "total parameters",
    "epochs",
    "relative error of outputs",
    "error before training",
    "error",
    "above dense",
)


@dataclasses.dataclass(frozen=True)
class Started:
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


def started_groups(comparison: Comparison, split: str) -> list[Started]:
    """Returns all groups of the structures that were decomposed by some trial, start by start.

    Of each start they are at all their settings, not at the best ones. They are in the order of the
    comparison's groups, then of STARTS. There are none if nothing was decomposed.
    """
    groups = [
        Started(group, start_of(group.trials[0]), _before(group, split))
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


def start_table(comparison: Comparison, split: str, started: Sequence[Started]) -> CellTable:
    """Returns the table of the groups, with their errors before and after training.

    They are compared with the dense model of their trunk, which is shown where there are several.
    """
    baselines = comparison.dense_by_trunk(split)
    has_trunks = len({one.group.trunk for one in started}) > 1
    rows = []
    for one in started:
        error, sizes = one.group.error(split), one.group.sizes
        outputs = one.output_error
        epochs = one.group.trials[0].config.get("train.num_epochs", 0)
        dense = baselines.get(one.group.trunk)
        above = error.mean - dense.error(split).mean if dense else None
        rows.append(
            [
                (one.group.method.label, None),
                (one.group.structure, None),
                *([(one.group.trunk, None)] if has_trunks else []),
                (one.start, None),
                (count(sizes["layer_parameters"]), sizes["layer_parameters"]),
                (count(sizes["parameters"]), sizes["parameters"]),
                (str(epochs), epochs),
                (f"{outputs.mean:.3f}" if outputs else "", outputs and outputs.mean),
                (spread(one.before) if one.before else "", one.before and one.before.mean),
                (spread(error), error.mean),
                ("" if above is None else f"{above * 100:+.2f}", above),
            ]
        )
    head = (*_HEAD[:2], "trunk", *_HEAD[2:]) if has_trunks else _HEAD
    return CellTable("starts", "Starts", head, 3 + has_trunks, rows)


def _before(group: Group, split: str) -> Spread | None:
    errors = [trial.outcome.before.get(split) for trial in group.trials]
    known = [error for error in errors if error is not None]
    return Spread.of(known) if known else None
