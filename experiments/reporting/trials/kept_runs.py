"""Trials kept in one small file, so that a report can be made anew without the runs' folders."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.reporting.trials.trial import KeptTrial, Trial
from experiments.runs import failure_reason, predictions
from experiments.system import json_files, write_file

KEPT_FILE = "runs.jsonl"


def keep(trials: Iterable[Trial], folder: Path) -> None:
    """Writes all that a report needs of the trials to `folder`: lines, and predictions."""
    lines, predicted = [], {}
    for number, trial in enumerate(trials, 1):
        predicted |= {f"{number}:{name}": its for name, its in trial.predicted.items()}
        plain = dataclasses.asdict(dataclasses.replace(trial, predicted={}))
        del plain["predicted"]
        lines.append(json.dumps(plain | {"folder": None}))
    write_file(folder / KEPT_FILE, "".join(f"{line}\n" for line in lines))
    if predicted:
        predictions.write(folder / predictions.FILE, predicted)
    else:
        (folder / predictions.FILE).unlink(missing_ok=True)


def read_kept(folder: Path) -> list[Trial]:
    """Returns the trials that `keep` wrote, as trials in `folder`.

    Raises:
      ValueError: naming the line, or the file of predictions, that is damaged.
    """
    predicted: dict[int, dict[str, predictions.Predictions]] = {}
    for key, its in predictions.read(folder / predictions.FILE).items():
        number, _, name = key.partition(":")
        predicted.setdefault(int(number), {})[name] = its
    trials = []
    for number, line in enumerate((folder / KEPT_FILE).read_text().splitlines(), 1):
        try:
            trial = _trial(json.loads(line), folder)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{folder / KEPT_FILE}, line {number}, is damaged ({error}); write the report that "
                "it is of again, from its runs."
            ) from error
        trials.append(dataclasses.replace(trial, predicted=predicted.get(number, {})))
    return trials


def _trial(kept: dict[str, Any], folder: Path) -> Trial:
    its = json_files.converted(kept | {"reason": failure_reason(kept)}, KeptTrial)
    fields = {field.name: getattr(its, field.name) for field in dataclasses.fields(its)}
    return Trial(**fields, folder=folder / its.sweep / its.name)
