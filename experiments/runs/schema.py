"""What a run's files say: whether it is finished, what its layers are, why it failed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.system import json_files

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


@dataclasses.dataclass(frozen=True)
class _Evaluation:
    error: float
    loss: float = 0.0
    examples: int = 0


@dataclasses.dataclass(frozen=True)
class _Result:
    """The parts of a result that other commands read, of the types that they rely on."""

    test: _Evaluation | None = None
    validation: _Evaluation | None = None
    whole_model: dict[str, float] = dataclasses.field(default_factory=dict)
    layers: list[Layer] = dataclasses.field(default_factory=list)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    steps: int = 0
    epochs: int = 0
    bytes: dict[str, int] = dataclasses.field(default_factory=dict)
    device: dict[str, Any] = dataclasses.field(default_factory=dict)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    compression: dict[str, Any] = dataclasses.field(default_factory=dict)
    command: str | None = None
    git_revision: str | None = None


def is_finished(folder: Path) -> bool:
    """Says whether the run in `folder` is finished: it then has a `result.json` that can be read.

    One that was cut off, or is empty, as a loss of power leaves it, is none.
    """
    if not (folder / RESULT_FILE).is_file():
        return False
    try:
        read_result(folder)
    except (ValueError, OSError):
        return False
    return True


def read_result(folder: Path) -> dict[str, Any]:
    """Returns the content of the `result.json` in `folder`.

    Raises:
      OSError: if there is none, or it cannot be read.
      ValueError: naming the file, if it is damaged.
    """
    path = folder / RESULT_FILE
    content = json_files.read_object(path, _Result)
    if not content:
        raise ValueError(f"{path} is damaged: it holds no result")
    return content


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
