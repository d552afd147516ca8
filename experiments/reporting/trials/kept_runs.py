"""Trials kept in one small file, so that a report can be made anew without the runs' folders."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.reporting.trials.trial import Outcome, Trial
from experiments.runs import Layer, failure_reason
from experiments.system import write_text

KEPT_FILE = "runs.jsonl"


def keep(trials: Iterable[Trial], folder: Path) -> None:
    """Writes all that a report needs of the trials, a line for each, to `folder`."""
    lines = [json.dumps(dataclasses.asdict(trial) | {"folder": None}) for trial in trials]
    write_text(folder / KEPT_FILE, "".join(f"{line}\n" for line in lines))


def read_kept(folder: Path) -> list[Trial]:
    """Returns the trials that `keep` wrote, as trials in `folder`.

    Raises:
      ValueError: naming the line that is damaged.
    """
    trials = []
    for number, line in enumerate((folder / KEPT_FILE).read_text().splitlines(), 1):
        try:
            trials.append(_trial(json.loads(line), folder))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{folder / KEPT_FILE}, line {number}, is damaged ({error}); write the report that "
                "it is of again, from its runs."
            ) from error
    return trials


def _trial(kept: dict[str, Any], folder: Path) -> Trial:
    outcome, reason = kept.pop("outcome"), failure_reason(kept)
    if outcome:
        layers = tuple(Layer(**layer) for layer in outcome.pop("layers"))
        outcome = Outcome(layers=layers, **outcome)
    curve = tuple((epoch, error) for epoch, error in kept.pop("curve"))
    place = {"folder": folder / kept["sweep"] / kept["name"]}
    return Trial(**kept | place | {"reason": reason}, outcome=outcome, curve=curve)
