"""Finished runs, as other commands read them: config, result, and the model's final arrays.

The folder of a run is only read here, never written to.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments.config import restored
from experiments.runs.schema import RESULT_FILE, read_result


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A finished run.

    Attributes:
      folder: its folder, absolute.
      config: its whole config, as `config.json` has it, with all fields that its model has now.
      result: the content of its `result.json`.
      called: what errors about it begin with, such as the config's field that names it; or empty.
    """

    folder: Path
    config: ConfigDict
    result: dict[str, Any]
    called: str = ""

    def read_variables(self, like: dict[str, Any]) -> dict[str, Any]:
        """Returns the model's final arrays, from the newest checkpoint.

        Args:
          like: dicts of abstract arrays by the checkpoint's parts (`params`, `batch_stats`), with
            the shapes, dtypes and shardings to read as.

        Raises:
          ValueError: if the newest checkpoint is missing, damaged or of other arrays.
        """
        from experiments.runs.checkpoints import read_parts  # with Orbax, which loads slowly

        try:
            return read_parts(self.folder / "checkpoints", like)
        except Exception as error:  # Orbax raises of any kind
            raise ValueError(
                f"{self.called}{self.folder}: its newest checkpoint is missing, damaged, or not of "
                f"the model in its config.json ({_first_line(error)}). Rename its {RESULT_FILE}, "
                "and train the run again in its folder: what is damaged is made anew. Or take "
                "another run."
            ) from error


def read_run(folder: str | os.PathLike[str], *, field: str = "") -> FinishedRun:
    """Returns a finished run, without its arrays.

    Args:
      folder: the run's.
      field: the field of the config that names the folder, for errors; empty: none does.

    Raises:
      ValueError: if there is no such folder, no run in it, or none that is finished, or one of the
        files cannot be read.
    """
    called = f"config.{field} is {os.fspath(folder)!r}, but " if field else ""
    folder = Path(folder).expanduser().absolute()
    try:
        return FinishedRun(folder, *_config_and_result(folder), called)
    except ValueError as error:
        raise ValueError(f"{called}{error}") from error


def _config_and_result(folder: Path) -> tuple[ConfigDict, dict[str, Any]]:
    remedy = "name the --workdir of a finished run"
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; {remedy}.")
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds no run: it has no config.json; {remedy}.")
    config = _read(folder / "config.json")
    try:
        result = read_result(folder)
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder} holds a run that is not finished: it has no {RESULT_FILE}; {remedy}."
        ) from error
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{error}; train the run again in its folder, which makes the result anew, or take "
            "another run."
        ) from error
    if "model" not in config:
        raise ValueError(f"{folder / 'config.json'} is of no run: it has no model; {remedy}.")
    return restored(config), result


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}); take another run.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} cannot be read (it holds no object); take another run.")
    return content


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else repr(error)
