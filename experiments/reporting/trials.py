"""Reads the folders of sweeps and runs: every trial, with how far it came."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.config_fields import flatten

SPLITS = ("test", "validation")

# Fields of a config that change neither the model nor its numbers.
_NEUTRAL_FIELDS = ("data.data_dir", "train.log_every", "train.checkpoint_every_epochs")


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer of a trial's model, as `result.json` counts it.

    Attributes:
      name: path of the layer in the model.
      kind: `dense`, `kfc`, `low_rank`, `conv` or another.
      structure: how its kernel is made, as text.
      parameters: entries of its kernel or factors, bias not.
      dense_parameters: entries of the dense kernel that it stands for.
      flops: FLOPs of the layer for one example.
      dense_flops: the same with a dense kernel.
    """

    name: str
    kind: str
    structure: str
    parameters: int
    dense_parameters: int
    flops: int
    dense_flops: int


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


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of a sweep, finished or not.

    Attributes:
      sweep: the sweep's name, for people.
      name: the trial's name.
      folder: its folder, which need not exist yet.
      state: `done`, `running`, `failed`, `stopped`, `pending`, `unfinished` (a run that nobody
        says is running) or `unreadable` (its result is damaged).
      attempts: how often it was started, where known.
      overrides: what distinguishes it from the sweep's base config.
      config: its whole config, flat; empty before it started.
      outcome: what it reached; None unless it is done.
      curve: `(epoch, fraction of errors)` at the end of every epoch.
      curve_split: `validation`, or `train` where no validation split was cut.
      command: the command that runs it, where known.
      problem: why there is no outcome, or empty.
    """

    sweep: str
    name: str
    folder: Path
    state: str
    attempts: int | None = None
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    outcome: Outcome | None = None
    curve: tuple[tuple[float, float], ...] = ()
    curve_split: str = "validation"
    command: str = ""
    problem: str = ""

    @property
    def seed(self) -> Any:
        """The config's seed, or None where the trial did not start."""
        return self.config.get("seed", self.overrides.get("seed"))

    @property
    def task(self) -> tuple[str, str]:
        """Names of the data set and of the model; empty where unknown."""
        return str(self.config.get("data.name", "")), str(self.config.get("model.name", ""))

    @property
    def has_diverged(self) -> bool:
        """Whether it failed because a number was not finite, as `experiments.training` says it."""
        return self.state == "failed" and "Lower config.optimizer.learning_rate" in self.problem

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of the config that may change the numbers, other than the seed."""
        neutral = ("seed", *_NEUTRAL_FIELDS)
        parts = (("distillation.", "teacher"), ("compression.", "source"))
        unused = tuple(part for part, run in parts if not self.config.get(part + run))
        settings = {
            name: value
            for name, value in self.config.items()
            if name not in neutral and not name.startswith(unused)
        }
        # Runs that differ in the seed alone may each have a teacher or a source of that seed.
        for name in {part + run for part, run in parts} & settings.keys():
            settings[name] = re.sub(r"seed=\d+", "seed=*", settings[name])
        return settings


def read_sweeps(paths: Sequence[str | os.PathLike[str]]) -> list[Trial]:
    """Reads every trial of the folders, in the order in which the sweeps planned them.

    Args:
      paths: work folders of sweeps, folders of run folders, or single run folders.

    Raises:
      ValueError: if there is no path, or one of them is no folder or has no trial in it.
    """
    if not paths:
        raise ValueError("There is nothing to report; name the --workdir of a sweep or of a run.")
    folders = [Path(path).expanduser().absolute() for path in paths]
    names = [folder.name for folder in folders]
    labels = [n if names.count(n) == 1 else str(p) for n, p in zip(names, paths, strict=True)]
    return [
        trial
        for folder, label in dict(zip(folders, labels, strict=True)).items()
        for trial in _read_sweep(folder, label)
    ]


def _read_sweep(folder: Path, label: str) -> list[Trial]:
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; name the --workdir of a sweep or of a run.")
    if (folder / "config.json").exists():
        return [_read_trial(folder, label, {})]
    plan = (_read_json(folder / "sweep.json")[0] or {}).get("trials", [])
    planned = {str(entry["name"]): entry for entry in plan if isinstance(entry, dict)}
    # Folders that the plan does not name are of an earlier plan, or there is no plan.
    found = sorted(
        child.name
        for child in folder.iterdir()
        if (child / "config.json").exists() or (child / "trial.json").exists()
    )
    names = list(dict.fromkeys([*planned, *found]))
    if not names:
        raise ValueError(
            f"{folder} holds no trial: neither a sweep.json with trials nor a folder with a "
            "config.json. Name the --workdir of a sweep or of a run."
        )
    return [_read_trial(folder / name, label, planned.get(name, {})) for name in names]


def _read_trial(folder: Path, sweep: str, planned: dict[str, Any]) -> Trial:
    record = _read_json(folder / "trial.json")[0] or {}
    config = flatten(_read_json(folder / "config.json")[0] or {})
    curve, split, last_step = _read_curve(folder / "metrics.jsonl")
    outcome, damage = _read_outcome(folder / "result.json")
    said = str(record.get("state", ""))
    problem = str(record.get("error") or "")
    if outcome:
        state, problem = "done", ""
    elif damage:
        state, problem = "unreadable", damage
    elif said in ("running", "failed", "stopped"):
        state = said
    else:
        started = bool(config) or said == "done"
        state = "unfinished" if started else "pending"
    if state in ("running", "unfinished", "stopped") and last_step:
        problem = "\n".join(filter(None, (f"came to step {last_step:,}", problem)))
    attempts = record.get("attempts")
    overrides = record.get("overrides", planned.get("overrides"))
    return Trial(
        sweep=sweep,
        name=folder.name,
        folder=folder,
        state=state,
        attempts=attempts if isinstance(attempts, int) else None,
        overrides=overrides if isinstance(overrides, dict) else {},
        config=config,
        outcome=outcome,
        curve=curve,
        curve_split=split,
        command=str(record.get("command") or ""),
        problem=problem,
    )


def _read_outcome(path: Path) -> tuple[Outcome | None, str]:
    """Returns the outcome, or None and what is wrong with the file (empty: it is not there)."""
    result, damage = _read_json(path)
    if result is None:
        return None, damage
    try:
        return _outcome(result), ""
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return None, f"{path.name} lacks what a report needs ({type(error).__name__}: {error})"


def _outcome(result: dict[str, Any]) -> Outcome:
    splits = {split: result[split] for split in SPLITS if result.get(split)}
    errors = {split: float(values["error"]) for split, values in splits.items()}
    if not all(map(math.isfinite, errors.values())):
        raise ValueError(f"the errors are {errors}")
    whole, seconds, device = result["whole_model"], result["seconds"], result["device"]
    names = [field.name for field in dataclasses.fields(Layer)]
    return Outcome(
        errors=errors,
        losses={split: float(values["loss"]) for split, values in splits.items()},
        examples={split: int(values["examples"]) for split, values in splits.items()},
        layers=tuple(Layer(**{n: layer[n] for n in names}) for layer in result["layers"]),
        parameters=int(whole["parameters"]),
        dense_parameters=int(whole["dense_parameters"]),
        flops=int(whole["flops_per_example"]),
        dense_flops=int(whole["dense_flops_per_example"]),
        # Waiting for data is a part of the training time.
        seconds=float(sum(s for name, s in seconds.items() if name != "data_wait")),
        train_seconds=float(seconds["train"]),
        device=f"{device['count']} x {device['kind']}",
        git_revision=str(result.get("git_revision") or ""),
    )


def _read_curve(path: Path) -> tuple[tuple[tuple[float, float], ...], str, int]:
    """Returns the error by epoch, its split, and the last step with metrics."""
    curves: dict[str, list[tuple[float, float]]] = {"validation": [], "train": []}
    last_step = 0
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            metrics = json.loads(line)
            last_step = int(metrics["step"])
            for split, points in curves.items():
                if (error := metrics.get(f"{split}/error")) is not None:
                    points.append((float(metrics["epoch"]), float(error)))
        except (ValueError, KeyError, TypeError):
            continue  # a line that was cut off, or of another sort
    split = "validation" if curves["validation"] else "train"
    return tuple(curves[split]), split, last_step


def _read_json(path: Path) -> tuple[dict[str, Any] | None, str]:
    """Returns the content, or None and what is wrong with the file (empty: it is not there)."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError) as error:
        return None, f"{path.name} cannot be read ({error})"
    if not isinstance(content, dict):
        return None, f"{path.name} cannot be read (it holds no object)"
    return content, ""
