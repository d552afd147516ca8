"""What a run leaves on disk, and its only readers.

- `RunFolder`: the folder of a run that is being made: config, metrics, result.
- `Checkpoints`: the checkpoints in it.
- `FinishedRun`, `read_run`: a finished run, as other commands read it.
- `is_finished`: whether a folder holds the result of a run.
- `predictions`: what a model said of every test image (a module).
- `Layer`: what a result says of one layer.
- `DIVERGED`, `DIVERGED_EXIT_CODE`, `failure_reason`: why a run failed, for programs.
- `provenance`: where a result comes from (a module).

`Checkpoints` and `provenance` are imported when they are first used, as JAX and Orbax take two
seconds, and `experiments.report` needs neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments.runs import predictions
from experiments.runs.finished import FinishedRun, read_run
from experiments.runs.folder import RunFolder
from experiments.runs.schema import (
    DIVERGED,
    DIVERGED_EXIT_CODE,
    Layer,
    failure_reason,
    is_finished,
)

if TYPE_CHECKING:
    from experiments.runs import provenance
    from experiments.runs.checkpoints import Checkpoints

__all__ = [
    "DIVERGED",
    "DIVERGED_EXIT_CODE",
    "Checkpoints",
    "FinishedRun",
    "Layer",
    "RunFolder",
    "failure_reason",
    "is_finished",
    "predictions",
    "provenance",
    "read_run",
]


def __getattr__(name: str) -> Any:
    if name == "Checkpoints":
        from experiments.runs.checkpoints import Checkpoints

        return Checkpoints
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
