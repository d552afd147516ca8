"""Locks on folders, which the system releases when their last holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path


class FolderLock:
    """An exclusive lock on a folder, as an open file in it.

    A child process that inherits `fileno()` holds the lock, too: it stays locked until both are
    gone. That is how a trial that outlives a killed runner keeps its folder.
    """

    def __init__(self, path: Path):
        """Opens the lock file at `path`, whose folder must exist, without locking it."""
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def acquire(self) -> bool:
        """Takes the lock if it is free; says whether it is now held. Never waits."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def sign(self, pid: int) -> None:
        """Writes into the file which process holds the lock, and on which machine.

        Raises:
          OSError: if it cannot be written.
        """
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{pid} {socket.gethostname()}\n".encode(), 0)

    def holder(self) -> tuple[int, str] | None:
        """Returns the process and the machine that signed last, or None."""
        pid, _, host = self._path.read_text().strip().partition(" ")
        return (int(pid), host) if pid.isdigit() else None

    def fileno(self) -> int:
        """Returns the file descriptor."""
        return self._file

    def close(self) -> None:
        """Lets go of the lock; a child that inherited it goes on holding it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def lock_folder(folder: Path, name: str) -> FolderLock:
    """Locks a folder for this process, by a file of that name in it.

    Raises:
      ValueError: if another process works in it.
      OSError: if the lock file cannot be written.
    """
    lock = FolderLock(folder / name)
    if not lock.acquire():
        pid, host = lock.holder() or ("?", "?")
        lock.close()
        raise ValueError(
            f"Another process ({pid} on {host}) works on {folder}; wait for its end or stop it, or "
            "take another --workdir."
        )
    lock.sign(os.getpid())
    return lock
