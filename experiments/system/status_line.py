"""A line of progress: updated in place in a terminal, line after line in a log."""

from __future__ import annotations

import sys
from typing import TextIO


class StatusLine:
    """Where something stands, told on a stream.

    Attributes:
      stream: where to write.
      is_terminal: whether the line is updated in place.
    """

    def __init__(self, stream: TextIO | None = None):
        """Shows it on `stream` (standard output)."""
        self.stream = stream or sys.stdout
        self.is_terminal = self.stream.isatty()
        self._is_open = False

    def show(self, line: str) -> None:
        """Writes the line over the one that is being updated; in a log, below it."""
        if self.is_terminal:
            print(f"\r\x1b[K{line}", end="", file=self.stream, flush=True)
            self._is_open = True
        else:
            print(line, file=self.stream, flush=True)

    def say(self, message: str) -> None:
        """Writes lines that stay, over the one that is being updated."""
        print("\r\x1b[K" * self._is_open + message, file=self.stream, flush=True)
        self._is_open = False

    def close(self) -> None:
        """Ends the line that is being updated, if there is one."""
        if self._is_open:
            print(file=self.stream, flush=True)
            self._is_open = False


def clock(seconds: float) -> str:
    """Returns a duration as people read it: `12:30`, or with hours `1:02:03`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
