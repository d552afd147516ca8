"""The command that trained a run, as others can read it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

_NEUTRAL = "--config.data.data_dir="


def without_machine_paths(command: str) -> str:
    """Returns a command in which no absolute path is left.

    Paths below the working directory become relative to it; of others `runs/` and their last part
    stay. Where the data lies is left out.
    """
    words = shlex.split(command)
    return shlex.join(_shortened(word) for word in words if not word.startswith(_NEUTRAL))


def _shortened(word: str) -> str:
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if not os.path.isabs(value):
        return word
    path, here = Path(value), Path.cwd()
    path = path.relative_to(here) if path.is_relative_to(here) else Path("runs", path.name)
    return f"{flag}{equals}{path}"
