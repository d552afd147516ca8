"""A trial as a report sees it: its config, how far it came, what it reached."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.config import NEUTRAL_FIELDS, completed
from experiments.runs import DIVERGED, Layer, predictions

SPLITS = ("test", "validation")
_DECOMPOSED = ("decomposed", "decomposed by data")
STARTS = tuple(
    f"{start}{taught}"
    for start in ("from scratch", *_DECOMPOSED, *(f"{way}, reordered" for way in _DECOMPOSED))
    for taught in ("", ", distilled")
)
"""Where models start: from scratch, or from a trained dense model, decomposed."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a finished trial reached, from its `result.json`.

    Attributes:
      errors: fraction of errors by split; only the splits that were evaluated.
      losses: mean loss by split, likewise.
      examples: number of examples by split, likewise.
      layers: every layer with parameters.
      parameters: parameters of the whole model, biases included.
      dense_parameters: the same with dense layers.
      flops: FLOPs of the whole model for one example.
      dense_flops: the same with dense layers.
      seconds: wall time of training and of everything else that was measured.
      train_seconds: wall time of the training steps.
      device: what it ran on.
      git_revision: commit of the code, or empty.
      before: fraction of errors by split before training, of a run that compresses another one.
      output_errors: relative error of the outputs of every layer that it decomposed.
      bytes: what its arrays take, as `float32` and with weights as `int8`; empty in older runs.
      int8_errors: fraction of errors by split with weights of 8 bits, likewise.
    """

    errors: dict[str, float]
    losses: dict[str, float]
    examples: dict[str, int]
    layers: tuple[Layer, ...]
    parameters: int
    dense_parameters: int
    flops: int
    dense_flops: int
    seconds: float
    train_seconds: float
    device: str
    git_revision: str
    before: dict[str, float] = dataclasses.field(default_factory=dict)
    output_errors: dict[str, float] = dataclasses.field(default_factory=dict)
    bytes: dict[str, int] = dataclasses.field(default_factory=dict)
    int8_errors: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeptTrial:
    """What is kept of a run of a sweep, finished or not.

    Attributes:
      sweep: the sweep's name, for people.
      name: the trial's name.
      state: `done`, `running`, `failed`, `stopped`, `pending`, `unfinished` (a run that nobody
        says is running) or `unreadable` (its result or its config is damaged).
      attempts: how often it was started, where known.
      overrides: what distinguishes it from the sweep's base config.
      config: its whole config, flat; empty before it started.
      outcome: what it reached; None unless it is done.
      curve: `(epoch, fraction of errors)` at the end of every epoch.
      curve_split: `validation`, or `train` where no validation split was cut.
      command: the command that runs it, where known.
      problem: why there is no outcome, or empty.
      reason: why its last attempt failed, as `experiments.runs.failure_reason` tells it, or empty.
    """

    sweep: str
    name: str
    state: str
    attempts: int | None = None
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    outcome: Outcome | None = None
    curve: tuple[tuple[float, float], ...] = ()
    curve_split: str = "validation"
    command: str = ""
    problem: str = ""
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial(KeptTrial):
    """A trial in a folder, with what it predicted.

    Attributes:
      folder: its folder, which need not exist yet.
      predicted: what it said of every test image, `test`, and `before_training` where it started
        from another model; empty where they were not kept.
    """

    folder: Path
    predicted: Mapping[str, predictions.Predictions] = dataclasses.field(default_factory=dict)

    @property
    def seed(self) -> Any:
        """The config's seed, or None where the trial did not start."""
        return self.config.get("seed", self.overrides.get("seed"))

    @property
    def task(self) -> tuple[str, str]:
        """Names of the data set and of the model; empty where unknown."""
        return str(self.config.get("data.name", "")), str(self.config.get("model.name", ""))

    @property
    def start(self) -> str:
        """Which of STARTS it has."""
        start = "from scratch"
        if self.config.get("compression.source"):
            start = _DECOMPOSED[bool(self.config["compression.weighted"])]
            start += ", reordered" if self.config.get("compression.reordered") else ""
        return f"{start}, distilled" if self.config.get("distillation.teacher") else start

    @property
    def has_diverged(self) -> bool:
        """Whether it failed because a number was not finite."""
        return self.state == "failed" and self.reason == DIVERGED

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of the config that may change the numbers, other than the seed."""
        neutral = ("seed", *NEUTRAL_FIELDS)
        parts = (("distillation.", "teacher"), ("compression.", "source"))
        unused = tuple(part for part, run in parts if not self.config.get(part + run))
        settings = {
            name: value
            for name, value in completed(self.config).items()
            if name not in neutral and not name.startswith(unused)
        }
        # Runs that differ in the seed alone may each have a teacher or a source of that seed.
        for name in {part + run for part, run in parts} & settings.keys():
            settings[name] = re.sub(r"seed=\d+", "seed=*", settings[name])
        return settings
