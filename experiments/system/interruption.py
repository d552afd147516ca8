"""Signals that stop a run at the end of a step rather than in its middle."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """A signal stopped the run, and its state was saved.

    Attributes:
      signum: the signal; a process that dies of it has exit code `128 + signum`.
    """

    def __init__(self, signum: int, step: int):
        super().__init__(
            f"{signal.Signals(signum).name} stopped the run; it is saved up to step {step:,}, and "
            "the same command goes on from there."
        )
        self.signum = signum


class PendingSignal:
    """Holds the signal that arrived while `deferred_signals` was active, or None."""

    def __init__(self) -> None:
        self.signum: int | None = None


@contextmanager
def deferred_signals(notice: str = "") -> Iterator[PendingSignal]:
    """Notes SIGINT and SIGTERM instead of dying of them; a second one acts at once.

    Args:
      notice: what to write at once when one arrives.
    """
    pending = PendingSignal()
    if threading.current_thread() is not threading.main_thread():  # only there Python allows it
        yield pending
        return
    previous = {signum: signal.getsignal(signum) for signum in _SIGNALS}

    def restore() -> None:
        for signum, handler in previous.items():
            signal.signal(signum, handler)

    def note(signum: int, frame: FrameType | None) -> None:
        del frame
        pending.signum = signum
        restore()
        os.write(2, notice.encode())  # which is safe in a handler; print is not

    for signum in _SIGNALS:
        signal.signal(signum, note)
    try:
        yield pending
    finally:
        restore()
