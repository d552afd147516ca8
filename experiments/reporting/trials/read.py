"""Reads the folders of sweeps, runs and reports: every trial, with how far it came."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.config import flatten
from experiments.reporting.trials.kept_runs import KEPT_FILE, read_kept
from experiments.reporting.trials.trial import SPLITS, Outcome, Trial
from experiments.runs import Layer, RunFolder, failure_reason, predictions
from experiments.system import json_files

_RELIED_ON: dict[str, Any] = {
    "seed": int,
    "model.hidden": int,
    "train.num_epochs": int,
    "optimizer.learning_rate": float,
    "optimizer.factor_gain": float,
    "compression.source": str,
    "distillation.teacher": str,
}
"""The types of the fields of a config that a report computes with."""


def read_sweeps(paths: Sequence[str | os.PathLike[str]]) -> list[Trial]:
    """Reads every trial of the folders, in the order in which the sweeps planned them.

    Args:
      paths: work folders of sweeps, folders of run folders, single run folders, or the folders of
        reports on them, which keep all that a report needs.

    Raises:
      ValueError: if there is no path, or one of them is no folder or has no trial in it.
    """
    if not paths:
        raise ValueError("There is nothing to report; name the --workdir of a sweep or of a run.")
    folders = [Path(path).expanduser().absolute() for path in paths]
    labels = dict(zip(folders, folder_names(paths), strict=True))
    return [trial for folder, label in labels.items() for trial in _read_sweep(folder, label)]


def folder_names(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Returns the folders' names; the whole path of those that have one name."""
    names = [Path(path).expanduser().absolute().name for path in paths]
    return [n if names.count(n) == 1 else str(p) for n, p in zip(names, paths, strict=True)]


def _read_sweep(folder: Path, label: str) -> list[Trial]:
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; name the --workdir of a sweep or of a run.")
    if (folder / "config.json").exists():
        return [_read_trial(folder, label, None)]
    if (folder / KEPT_FILE).exists() and not (folder / "sweep.json").exists():
        return read_kept(folder)
    planned = _planned(folder / "sweep.json")
    # Folders that the plan does not name are of an earlier plan, or there is no plan.
    found = sorted(
        child.name
        for child in folder.iterdir()
        if (child / "config.json").exists() or (child / "trial.json").exists()
    )
    names = list(dict.fromkeys([*planned, *found]))
    if not names:
        raise ValueError(
            f"{folder} holds no trial: neither a sweep.json with trials, nor a folder with a "
            "config.json, nor a report's runs.jsonl. Name the --workdir of a sweep or of a run."
        )
    return [_read_trial(folder / name, label, planned.get(name)) for name in names]


@dataclasses.dataclass
class _Plan:
    """What is read of a `sweep.json`."""

    trials: list[_Planned]


@dataclasses.dataclass
class _Planned:
    name: str
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)


def _planned(path: Path) -> dict[str, dict[str, Any]]:
    """Returns the overrides of the trials that a sweep planned, by name; none without a plan."""
    try:
        return {trial.name: trial.overrides for trial in json_files.read(path, _Plan).trials}
    except (OSError, ValueError):
        return {}


def _read_trial(folder: Path, sweep: str, planned: dict[str, Any] | None) -> Trial:
    record = _read_or_nothing(folder / "trial.json")
    curve, split, last_step = _read_curve(folder)
    config, outcome, damage = {}, None, ""
    try:
        config = _read_config(folder / "config.json")
    except ValueError as error:
        damage = str(error)
    try:
        if not damage:
            outcome = _outcome(json_files.read(folder / "result.json", dict[str, Any]))
    except FileNotFoundError:
        pass
    except (OSError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = str(error).replace(f"{folder}{os.sep}", "")
        damage = f"result.json cannot be read ({type(error).__name__}: {reason})"
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
    try:
        predicted = predictions.read(folder / predictions.FILE)
    except ValueError as error:
        predicted, problem = {}, "\n".join(filter(None, (problem, str(error))))
    attempts = record.get("attempts")
    overrides = record.get("overrides", planned)
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
        reason=failure_reason(record),
        predicted=predicted,
    )


def _read_config(path: Path) -> dict[str, Any]:
    """Returns a run's config, flat; nothing where it has none.

    Raises:
      ValueError: naming the file and the field, if it is damaged.
    """
    try:
        config = flatten(json_files.read(path, dict[str, Any]))
    except OSError:
        return {}
    for field, kind in _RELIED_ON.items():
        try:
            json_files.converted(config.get(field), kind | None)
        except ValueError as error:
            raise ValueError(f"config.json is damaged: {field}: {error}") from error
    return config


def _outcome(result: dict[str, Any]) -> Outcome:
    splits = {split: result[split] for split in SPLITS if result.get(split)}
    errors = _errors(result)
    if not all(map(math.isfinite, errors.values())):
        raise ValueError(f"the errors are {errors}")
    compression = result.get("compression", {})
    whole, seconds, device = result["whole_model"], result["seconds"], result["device"]
    return Outcome(
        errors=errors,
        losses={split: float(values["loss"]) for split, values in splits.items()},
        examples={split: int(values["examples"]) for split, values in splits.items()},
        layers=tuple(json_files.converted(layer, Layer) for layer in result["layers"]),
        parameters=int(whole["parameters"]),
        dense_parameters=int(whole["dense_parameters"]),
        flops=int(whole["flops_per_example"]),
        dense_flops=int(whole["dense_flops_per_example"]),
        # Waiting for data is a part of the training time.
        seconds=float(sum(s for name, s in seconds.items() if name != "data_wait")),
        train_seconds=float(seconds["train"]),
        device=f"{device['count']} x {device['kind']}",
        git_revision=str(result.get("git_revision") or ""),
        before=_errors(compression.get("before_training", {})),
        output_errors={
            name: float(layer["output_error"])
            for name, layer in compression.get("layers", {}).items()
            if layer["output_error"] is not None
        },
        bytes={name: int(count) for name, count in result.get("bytes", {}).items()},
        int8_errors=_errors(result.get("int8", {})),
    )


def _errors(result: dict[str, Any]) -> dict[str, float]:
    return {split: float(result[split]["error"]) for split in SPLITS if result.get(split)}


def _read_curve(folder: Path) -> tuple[tuple[tuple[float, float], ...], str, int]:
    """Returns the error by epoch, its split, and the last step with metrics."""
    curves: dict[str, list[tuple[float, float]]] = {"validation": [], "train": []}
    last_step = 0
    for metrics in RunFolder.read_metrics(folder):
        try:
            last_step = int(metrics["step"])
            for split, points in curves.items():
                if (error := metrics.get(f"{split}/error")) is not None:
                    points.append((float(metrics["epoch"]), float(error)))
        except (ValueError, KeyError, TypeError):
            continue  # a line of another sort
    split = "validation" if curves["validation"] else "train"
    return tuple(curves[split]), split, last_step


def _read_or_nothing(path: Path) -> dict[str, Any]:
    try:
        return json_files.read(path, dict[str, Any])
    except (OSError, ValueError):
        return {}
