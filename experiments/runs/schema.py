"""What a run's files say: whether it is finished, what its layers are, why it failed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULT_FILE = "result.json"

DIVERGED = "diverged"
"""The reason of a run that failed because a number in it was not finite."""

DIVERGED_EXIT_CODE = 3
"""The exit code with which a command that trains says so to whoever started it."""

# What the error of such a run said when there was no reason in its files yet.
_SENTENCE_OF_DIVERGED = "Lower config.optimizer.learning_rate"


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer of a run's model, as `result.json` counts it.

    A multiplication and an addition count as two FLOPs.

    Attributes:
      name: path of the layer in the model.
      kind: the kind of a fully connected layer (`dense`, `kfc`, `low_rank`, ...; `none`: it was
        left out), `conv`, or the class of a module of another sort.
      structure: how its kernel is made, as text.
      parameters: entries of its kernel or of its factors, padding included, bias not.
      dense_parameters: entries of the dense kernel that it stands for.
      flops: FLOPs of the layer for one example, its bias left out; 0 for modules of another sort.
      dense_flops: the same, had the layer a dense kernel.
      frozen: whether it was not trained; its parameters count all the same.
    """

    name: str
    kind: str
    structure: str
    parameters: int
    dense_parameters: int
    flops: int
    dense_flops: int
    frozen: bool = False


def is_finished(folder: Path) -> bool:
    """Says whether the run in `folder` is finished: it then has its `result.json`."""
    return (folder / RESULT_FILE).is_file()


def failure_reason(state: Mapping[str, Any]) -> str:
    """Returns why a run failed, as a word: `DIVERGED`, or nothing where no word is known.

    Args:
      state: what was written of the run: the content of `trial.json`, or a kept trial of a report.
        States from before there was a reason in them have only the error's sentence, under `error`
        or `problem`; this is the one place that still understands it.
    """
    if "reason" in state:
        return state["reason"] or ""
    said = str(state.get("error") or state.get("problem") or "")
    return DIVERGED if _SENTENCE_OF_DIVERGED in said else ""
