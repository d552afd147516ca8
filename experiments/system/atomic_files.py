"""Files that a reader, or a kill, finds old or new, never in part."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_file(path: Path, content: str | bytes) -> None:
    """Writes a file of text or of bytes, all of it or nothing.

    Raises:
      OSError: if it cannot be written; the old content stays.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    temporary.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file, all of it or nothing.

    Raises:
      OSError: if it cannot be written; the old content stays.
    """
    write_file(path, json.dumps(content, indent=2) + "\n")
