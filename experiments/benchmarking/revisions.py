"""An earlier revision of this repository, in a folder of its own while it is timed."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """Gives the files of a revision in a folder that is named by its commit.

    Raises:
      ValueError: if this is no repository, or it has no such revision.
    """
    commit = _git("rev-parse", "--short=12", "--verify", f"{revision}^{{commit}}").strip()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / commit
        _git("worktree", "add", "--detach", str(tree), commit)
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True)
    except OSError as error:
        raise ValueError(f"--against needs git ({error}).") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise ValueError(
            f"--against: git {arguments[0]} {arguments[-1]}: {lines[-1]}. Take a commit, tag or "
            "branch of this repository, as git log shows them."
        )
    return done.stdout
