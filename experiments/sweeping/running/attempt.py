"""One attempt at a trial: a process of its own, in the trial's folder, which it holds locked."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from experiments.runs import DIVERGED, DIVERGED_EXIT_CODE, is_finished
from experiments.sweeping.running.shares import Share
from experiments.sweeping.running.trial_state import now
from experiments.system import FolderLock

_TAIL_BYTES = 3_000


@dataclasses.dataclass(frozen=True)
class Job:
    """A process to run for a trial; plain data, so that it can travel to another machine.

    Attributes:
      name: the name of the trial.
      folder: the trial's, absolute; it exists.
      command: the program and its arguments.
      cwd: where it runs.
      env: environment variables on top of this process's.
    """

    name: str
    folder: Path
    command: tuple[str, ...]
    cwd: Path
    env: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    Attributes:
      is_done: whether the run has its result.
      error: if not: a line that says why, then the end of its log.
      reason: if not: the same as a word, where its exit code tells one.
    """

    is_done: bool
    error: str | None = None
    reason: str | None = None


class Attempt:
    """Runs a job once the trial's folder is free, unless its result is there by then.

    It is not free while a process from before a runner was killed still works in it. That one is
    waited for, so its work counts and no trial ever runs twice at a time.
    """

    def __init__(self, job: Job, share: Share):
        """Prepares the attempt; `poll` starts it."""
        self._job, self._share = job, share
        self._lock = FolderLock(job.folder / ".lock")
        self._is_locked = False
        self._is_stopping = False
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def poll(self) -> Ending | None:
        """Starts the process if it can be, and returns the outcome once there is one."""
        if not self._is_locked:
            self._is_locked = self._lock.acquire()
            if not self._is_locked:
                return None
            if is_finished(self._job.folder):
                return self._end(Ending(is_done=True))
            if self._is_stopping:
                return self._end(Ending(False, "It was stopped before it started."))
            try:
                self._process = self._spawn()
                self._lock.sign(self._process.pid)
            except OSError as error:
                self.kill()
                return self._end(Ending(False, f"It could not be started: {error}."))
        assert self._process is not None
        code = self._process.poll()
        if code is None:
            return None
        _signal_group(self._process.pid, signal.SIGKILL)  # what it may have left behind
        if is_finished(self._job.folder):
            return self._end(Ending(is_done=True))
        tail = log_tail(self._job.folder / "log.txt", self._log_start)
        reason = DIVERGED if code == DIVERGED_EXIT_CODE else None
        return self._end(Ending(False, f"{_describe(code)}\n{tail}", reason))

    def stop(self) -> None:
        """Asks the process to save its state and end; `poll` says when it has."""
        self._is_stopping = True
        if pid := self._pid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def kill(self) -> None:
        """Ends the process, and all that it started, at once."""
        self._is_stopping = True
        if pid := self._pid():
            _signal_group(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def _pid(self) -> int | None:
        """Returns the process that works in the folder, this attempt's or an earlier one's."""
        if self._process is not None:
            return self._process.pid if self._process.returncode is None else None
        if self._is_locked:
            return None
        pid, host = self._lock.holder() or (None, None)
        return pid if host == socket.gethostname() else None

    def _spawn(self) -> subprocess.Popen[bytes]:
        job = self._job
        with (job.folder / "log.txt").open("ab") as log, _pinned_to(self._share.cores):
            log.write(f"[{now()}] {shlex.join(job.command)}\n".encode())
            log.flush()
            self._log_start = log.tell()
            return subprocess.Popen(
                job.command,
                cwd=job.cwd,
                env=os.environ | self._share.env | job.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the runner alone, which then stops it
                pass_fds=(self._lock.fileno(),),
            )

    def _end(self, outcome: Ending) -> Ending:
        self._lock.close()
        return outcome


def log_tail(path: Path, start: int = 0) -> str:
    """Returns the end of a log, in whole lines and from byte `start` on; empty if there is none."""
    try:
        with path.open("rb") as log:
            cut = log.seek(0, os.SEEK_END) - _TAIL_BYTES
            log.seek(max(start, cut))
            text = log.read().decode(errors="replace")
    except OSError:
        return ""
    return text.partition("\n")[2] if cut > start else text


def _describe(code: int) -> str:
    if code < 0:
        return f"It was killed by {signal.Signals(-code).name}."
    return f"It ended with exit code {code}" + (", but without a result." if code == 0 else ".")


def _signal_group(pid: int, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signum)


@contextlib.contextmanager
def _pinned_to(cores: tuple[int, ...]) -> Iterator[None]:
    """Pins this thread, and thereby a process that it starts, to some cores."""
    if not cores or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
