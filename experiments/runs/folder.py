"""The folder of a run: what a run writes, and all that other commands read of it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from tensorboardX import SummaryWriter

from experiments.config import NEUTRAL_FIELDS, completed, flatten
from experiments.runs import predictions
from experiments.runs.schema import RESULT_FILE, is_finished, read_result
from experiments.system import json_files, write_file

_METRICS_FILE = "metrics.jsonl"
_NO_CHECKPOINTS = re.compile(r"\[[^/]*\]|\\")


class RunFolder:
    """One run's `config.json`, `metrics.jsonl`, TensorBoard events and `result.json`.

    Attributes:
      path: the folder, absolute.
      checkpoints: the folder of the checkpoints, absolute.
    """

    def __init__(self, path: str | os.PathLike[str], config: ConfigDict):
        """Reads the config that the folder holds, if it is there; writes nothing.

        Args:
          path: the folder.
          config: the whole config of the run.
        """
        self.path = Path(path).expanduser().absolute()
        self.checkpoints = self.path / "checkpoints"
        self._config = config.to_dict()
        self._writer: SummaryWriter | None = None
        self._has_config, self._refusal = self._compare()
        self._result: dict[str, Any] | None = None

    def open(self) -> RunFolder:
        """Makes the folder, if need be, and returns it; nothing is written before `start`.

        Raises:
          ValueError: if it holds a run whose config differs in a field that changes the numbers,
            or its config cannot be read, or no checkpoint could be read from there.
          OSError: if it cannot be made.
        """
        if self._refusal:
            raise ValueError(self._refusal)
        if found := _NO_CHECKPOINTS.search(str(self.path)):
            raise ValueError(
                f"{self.path} has {found.group()!r} in its path, which Orbax takes for a pattern: "
                "no checkpoint could be read from there; take another --workdir."
            )
        self.path.mkdir(parents=True, exist_ok=True)
        return self

    @property
    def holds_result_of_config(self) -> bool:
        """Whether a run with this config is finished in the folder."""
        return is_finished(self.path) and self._has_config and not self._refusal

    @property
    def has_checkpoint(self) -> bool:
        """Whether the run has a checkpoint, from which it would go on."""
        from experiments.runs.checkpoints import has_checkpoint  # with Orbax, which loads slowly

        return has_checkpoint(self.checkpoints)

    def result(self) -> dict[str, Any] | None:
        """Returns the content of `result.json`, or None while the run is not finished.

        The file is read once. A damaged one is none: it is renamed, which a line says, and the run
        goes on from its newest checkpoint.

        Raises:
          OSError: if it can be neither read nor renamed.
        """
        if self._result is None and (self.path / RESULT_FILE).exists():
            try:
                self._result = read_result(self.path)
            except (ValueError, IsADirectoryError) as error:
                aside = self.path / f"{RESULT_FILE}.damaged"
                (self.path / RESULT_FILE).rename(aside)
                print(f"{error}; it is now {aside.name}, and the result is made anew.", flush=True)
        return self._result

    def write_result(self, result: dict[str, Any]) -> None:
        """Writes `result.json`, all of it or nothing: from then on the run is finished."""
        json_files.write(self.path / RESULT_FILE, result)
        self._result = result

    def keep_predictions(self, name: str, its: predictions.Predictions) -> None:
        """Adds predictions under a name to those of the run, or writes them anew."""
        path = self.path / predictions.FILE
        predictions.write(path, predictions.read(path) | {name: its})

    def write_text(self, name: str, text: str) -> None:
        """Writes another file into the folder, all of it or nothing."""
        write_file(self.path / name, text)

    def start(self, step: int) -> None:
        """Writes the config, and opens the metrics behind `step`.

        Metrics past that step are dropped, as they will come again.
        """
        for left in self.path.glob("*.tmp"):  # by a process that was killed while it wrote
            left.unlink(missing_ok=True)
        json_files.write(self.path / "config.json", self._config)
        kept = [line for line in self.read_metrics(self.path) if line["step"] <= step]
        text = "".join(f"{json.dumps(line)}\n" for line in kept)
        write_file(self.path / _METRICS_FILE, text)
        # purge_step tells TensorBoard to forget what an earlier part of the run wrote past it.
        self._writer = SummaryWriter(str(self.path), purge_step=step + 1)

    def write_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Adds a line to `metrics.jsonl` and the same numbers to the TensorBoard events."""
        if self._writer is None:
            raise RuntimeError("Call start first.")
        with (self.path / _METRICS_FILE).open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    @staticmethod
    def read_metrics(folder: Path, last_bytes: int | None = None) -> list[dict[str, Any]]:
        """Returns the lines of the `metrics.jsonl` in `folder`, the oldest first.

        Lines that were cut off, are just being written or hold no step are left out. Where there is
        no such file, or it cannot be read, the list is empty.

        Args:
          folder: the folder of any run, whatever its config and whether it is finished or not.
          last_bytes: reads only so many bytes at the end of the file. Default: all of it.
        """
        try:
            with (folder / _METRICS_FILE).open("rb") as file:
                if last_bytes is not None:
                    file.seek(max(0, file.seek(0, os.SEEK_END) - last_bytes))
                lines = file.read().splitlines()
        except OSError:
            return []
        found = []
        for line in lines:
            try:
                metrics = json.loads(line)
            except ValueError:
                continue
            if isinstance(metrics, dict) and isinstance(metrics.get("step"), int):
                found.append(metrics)
        return found

    def close(self) -> None:
        """Closes the TensorBoard events."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _compare(self) -> tuple[bool, str]:
        """Returns whether a config is there, and why this one may not go on, or nothing."""
        path = self.path / "config.json"
        if not path.exists():
            return False, ""
        try:
            differences = _differences(path, self._config)
        except ValueError as error:
            return True, (
                f"{path} cannot be read ({error}); delete this file alone, and the same command "
                "goes on from the newest checkpoint."
            )
        if not differences:
            return True, ""
        return True, (
            f"{self.path} holds a run with another config: {'; '.join(differences)}. Take "
            "another --workdir, or the same config to go on with this run."
        )


def _differences(path: Path, config: dict[str, Any]) -> list[str]:
    """Returns how a config differs from the written one, in the fields that change the numbers."""
    before = completed(flatten(json.loads(path.read_text())))
    now = completed(flatten(json.loads(json.dumps(config))))
    return [
        f"config.{name} was {before.get(name)!r} and is now {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and name not in NEUTRAL_FIELDS
    ]
