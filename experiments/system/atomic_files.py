"""Files that a reader, or a kill, finds old or new, never in part."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Writes a file, all of it or nothing.

    Raises:
      OSError: if it cannot be written; the old content stays.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file, all of it or nothing.

    Raises:
      OSError: if it cannot be written; the old content stays.
    """
    write_text(path, json.dumps(content, indent=2) + "\n")
