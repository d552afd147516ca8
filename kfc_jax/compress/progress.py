"""How far a long computation is, and whether its time is over."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

QUIET_SECONDS = 5.0
"""For how long nothing is told, and how much time is between two reports."""


class Progress:
    """Tells at times how far the planning is, and when its time is over.

    Attributes:
      seconds: how long the planning may take; None: as long as it needs.
    """

    def __init__(self, seconds: float | None, report: Callable[[str], None] | None) -> None:
        """Starts the clock.

        Args:
          seconds: how long the planning may take; None: as long as it needs.
          report: what takes the reports; None: they are printed to the standard error stream, from
            the fifth second on.
        """
        self.seconds, self._report = seconds, report
        self._started = self._stage_started = time.monotonic()
        self._told = self._started if report is None else -QUIET_SECONDS
        self._stage, self._total, self._done = "", 1.0, 0.0
        self._lock = threading.Lock()  # kernels are worked on at once

    def is_over(self, share: float = 1.0) -> bool:
        """Whether this share of the time has passed."""
        return self.seconds is not None and self._elapsed() >= share * self.seconds

    def begin(self, stage: str, total: float) -> None:
        """Begins a stage of the planning of so much work."""
        self._stage, self._total, self._done = stage, max(total, 1e-9), 0.0
        self._stage_started = time.monotonic()

    def advance(self, work: float) -> None:
        """Tells that so much more of the stage's work is done."""
        with self._lock:
            self._advance(work)

    def _advance(self, work: float) -> None:
        self._done += work
        now = time.monotonic()
        if now - self._told < QUIET_SECONDS or self._done <= 0:
            return
        self._told = now
        share = min(1.0, self._done / self._total)
        left = (now - self._stage_started) * (1 / share - 1)
        text = (
            f"planning: {self._stage}, {share:.0%} done; {self._elapsed():.0f} s so far, about "
            f"{left:.0f} s left for this"
        )
        if self._report is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self._report(text)

    def _elapsed(self) -> float:
        return time.monotonic() - self._started
