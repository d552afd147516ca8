"""JSON files: written whole or not at all, and read as the types that their readers rely on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from experiments.system.atomic_files import write_file

T = TypeVar("T")


def write(path: Path, content: Any) -> None:
    """Writes a JSON file, all of it or nothing.

    Raises:
      OSError: if it cannot be written; the old content stays.
    """
    write_file(path, json.dumps(content, indent=2) + "\n")


def read(path: Path, kind: type[T]) -> T:
    """Returns the content of a JSON file.

    Args:
      path: the file.
      kind: what it holds, such as a dataclass, whose fields are checked with their types. What the
        file has beside them is left out.

    Raises:
      OSError: if it cannot be read.
      ValueError: naming the file and the field, in one line, if it is no JSON or of another type.
    """
    return _read(path, kind)[1]


def read_object(path: Path, kind: type) -> dict[str, Any]:
    """Returns the whole object in a JSON file, its fields checked as `read` does; raises as it."""
    return _read(path, kind)[0]


def _read(path: Path, kind: type[T]) -> tuple[Any, T]:
    try:
        content = json.loads(path.read_bytes())
        return content, converted(content, kind)
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is damaged: {reason}") from error


def converted(content: Any, kind: type[T]) -> T:
    """Returns what JSON held as a type.

    Raises:
      ValueError: naming the field, if it is of another type.
    """
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error).replace("`", "").replace(" - at $", ", in ")) from error
