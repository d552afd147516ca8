"""Configs that are read from their files, by path: nothing here imports `configs`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from ml_collections import ConfigDict


def load_config(name: str) -> ConfigDict:
    """Returns the config of a file, `FILE` or `FILE:ARGUMENT`, as `--config` takes it.

    Raises:
      ValueError: if there is no such file, or it is not a Python file.
    """
    path, _, argument = name.partition(":")
    module = load_module(path, "base config")
    return module.get_config(argument) if argument else module.get_config()


def load_module(path: str, what: str) -> ModuleType:
    """Returns a Python file as a module.

    Args:
      path: the file.
      what: what the file is, in two words, for errors.

    Raises:
      ValueError: if there is no such file, or it is not a Python file.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: there is no such {what}; paths start where the command runs.")
    spec = importlib.util.spec_from_file_location(f"_{what.replace(' ', '_')}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file; a {what} is one.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
