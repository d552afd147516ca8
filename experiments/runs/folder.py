"""The folder of a run: what a run writes, and all that other commands read of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from tensorboardX import SummaryWriter

from experiments.config.fields import flatten
from experiments.system.atomic_files import write_json, write_text

# Fields that change neither the model nor its numbers, so that a run may go on with others.
_NEUTRAL_FIELDS = ("data.data_dir", "train.log_every", "train.checkpoint_every_epochs")


class RunFolder:
    """One run's `config.json`, `metrics.jsonl`, TensorBoard events and `result.json`.

    Attributes:
      path: the folder, absolute.
      checkpoints: the folder of the checkpoints, absolute.
    """

    def __init__(self, path: str | os.PathLike[str], config: ConfigDict):
        """Opens the folder, or creates it; nothing is written before `start`.

        Raises:
          ValueError: if it holds a run whose config differs in a field that changes the numbers,
            or its config cannot be read.
          OSError: if it cannot be written.
        """
        self.path = Path(path).expanduser().absolute()
        self.checkpoints = self.path / "checkpoints"
        self._config = config.to_dict()
        self._writer: SummaryWriter | None = None
        if (self.path / "config.json").exists():
            self._refuse_another_config()
        self.path.mkdir(parents=True, exist_ok=True)

    def result(self) -> dict[str, Any] | None:
        """Returns the content of `result.json`, or None while the run is not finished."""
        path = self.path / "result.json"
        return json.loads(path.read_text()) if path.exists() else None

    def write_result(self, result: dict[str, Any]) -> None:
        """Writes `result.json`, all of it or nothing: from then on the run is finished."""
        write_json(self.path / "result.json", result)

    def start(self, step: int) -> None:
        """Writes the config, and opens the metrics behind `step`.

        Metrics past that step are dropped, as they will come again.
        """
        write_json(self.path / "config.json", self._config)
        path = self.path / "metrics.jsonl"
        kept = [line for line in _lines(path) if _step(line) <= step]
        write_text(path, "".join(f"{line}\n" for line in kept))
        # purge_step tells TensorBoard to forget what an earlier part of the run wrote past it.
        self._writer = SummaryWriter(str(self.path), purge_step=step + 1)

    def write_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Adds a line to `metrics.jsonl` and the same numbers to the TensorBoard events."""
        if self._writer is None:
            raise RuntimeError("Call start first.")
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Closes the TensorBoard events."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _refuse_another_config(self) -> None:
        path = self.path / "config.json"
        try:
            differences = _differences(path, self._config)
        except ValueError as error:
            raise ValueError(
                f"{path} cannot be read ({error}); take another --workdir, or delete this one."
            ) from error
        if differences:
            raise ValueError(
                f"{self.path} holds a run with another config: {'; '.join(differences)}. Take "
                "another --workdir, or the same config to go on with this run."
            )


def holds_result_of(path: str | os.PathLike[str], config: ConfigDict) -> bool:
    """Says whether the folder holds the result of a run with this config; reads only."""
    path = Path(path).expanduser()
    if not (path / "result.json").exists():
        return False
    try:
        return not _differences(path / "config.json", config.to_dict())
    except (OSError, ValueError):
        return False


def _differences(path: Path, config: dict[str, Any]) -> list[str]:
    """Returns how a config differs from the written one, in the fields that change the numbers."""
    before = flatten(json.loads(path.read_text()))
    now = flatten(json.loads(json.dumps(config)))
    return [
        f"config.{name} was {before.get(name)!r} and is now {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and name not in _NEUTRAL_FIELDS
    ]


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _step(line: str) -> float:
    """Returns the step of a line of metrics; infinity for one that was cut off."""
    try:
        return json.loads(line)["step"]
    except ValueError:
        return float("inf")
