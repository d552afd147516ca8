"""Finished runs, as other commands read them: config, result, and the model's final arrays.

The folder of a run is only read here, never written to.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from experiments.models import make_model
from experiments.runs.checkpoints import read_parts
from experiments.system.devices import shardings


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A finished run; `experiments.models.make_model(run.config.model)` is its model.

    Attributes:
      folder: its folder, absolute.
      config: its whole config, as `config.json` has it.
      result: the content of its `result.json`.
      params: the model's final parameters, on all devices.
      batch_stats: its running statistics, likewise; empty for models without batch norm.
    """

    folder: Path
    config: ConfigDict
    result: dict[str, Any]
    params: Any
    batch_stats: Any


def load_run(folder: str | os.PathLike[str]) -> FinishedRun:
    """Returns a finished run with its arrays.

    Raises:
      ValueError: as `read_run`, or if the newest checkpoint is missing, damaged or of another model
        than the one in `config.json`.
    """
    config, result = read_run(folder)
    folder = Path(folder).expanduser().absolute()
    model, shape = make_model(config.model), (1, *config.model.image_shape)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(shape)))
    replicated, _ = shardings()
    like = {
        part: jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated),
            variables.get(part, {}),
        )
        for part in ("params", "batch_stats")
    }
    try:
        return FinishedRun(folder, config, result, **read_parts(folder / "checkpoints", like))
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(
            f"{folder}: its newest checkpoint is missing, damaged, or not of the model in its "
            f"config.json ({_first_line(error)}). Train the run again, or take another."
        ) from error


def read_named_run(
    field: str, name: str, workdir: str | os.PathLike[str] | None
) -> tuple[ConfigDict, dict[str, Any]]:
    """As `read_run`, for a run that a config names.

    Args:
      field: the config's field, for errors.
      name: the folder, as it is there.
      workdir: the folder of the run with that config, where known.

    Raises:
      ValueError: as `read_run`, or if `workdir` is in that folder; naming the field.
    """
    folder = Path(name).expanduser().resolve()
    if workdir and Path(workdir).expanduser().resolve().is_relative_to(folder):
        raise ValueError(
            f"config.{field} is {name!r}, and the run would be written into that folder; take "
            "another --workdir."
        )
    with _naming(field, name):
        return read_run(name)


def load_named_run(field: str, name: str) -> FinishedRun:
    """As `load_run`, for a run that a config's field names.

    Raises:
      ValueError: as `load_run`, naming the field.
    """
    with _naming(field, name):
        return load_run(name)


@contextlib.contextmanager
def _naming(field: str, name: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"config.{field} is {name!r}, but {error}") from error


def read_run(folder: str | os.PathLike[str]) -> tuple[ConfigDict, dict[str, Any]]:
    """Returns config and result of a finished run, without its arrays.

    Raises:
      ValueError: if there is no such folder, no run in it, or none that is finished, or one of the
        files cannot be read.
    """
    folder = Path(folder).expanduser().absolute()
    remedy = "name the --workdir of a finished run"
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; {remedy}.")
    for name, what in (("config.json", "no run"), ("result.json", "a run that is not finished")):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} holds {what}: it has no {name}; {remedy}.")
    config = ConfigDict(_with_tuples(_read(folder / "config.json")))
    if "model" not in config:
        raise ValueError(f"{folder / 'config.json'} is of no run: it has no model; {remedy}.")
    return config, _read(folder / "result.json")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}); take another run.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} cannot be read (it holds no object); take another run.")
    return content


def _with_tuples(value: Any) -> Any:
    """Returns the value with tuples for the lists that JSON made of them."""
    if isinstance(value, dict):
        return {name: _with_tuples(one) for name, one in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else repr(error)
