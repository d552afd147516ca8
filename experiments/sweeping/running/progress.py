"""What a sweep tells while it runs: one line, updated, in a terminal; plain lines in a log."""

from __future__ import annotations

import collections
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from experiments.runs import RunFolder
from experiments.sweeping.running.trial_state import (
    DONE,
    FAILED,
    PENDING,
    RUNNING,
    STOPPED,
    TrialState,
)
from experiments.system import StatusLine, clock

_TAIL_BYTES = 4_000
_TERMINAL_SECONDS, _LOG_SECONDS = 1.0, 30.0


class SweepProgress:
    """Shows where a sweep stands."""

    def __init__(self, workdir: Path, slots: int, stream: TextIO | None = None):
        """Shows the sweep in `workdir`, `slots` trials at once, on `stream` (standard output)."""
        self._workdir, self._slots = workdir, slots
        self._line = StatusLine(stream)
        self._next = 0.0

    def say(self, message: str) -> None:
        """Writes lines that stay."""
        self._line.say(message)

    def update(self, trial_states: list[TrialState], running_since: Mapping[str, float]) -> None:
        """Shows the status, if it is time for it; `running_since` is in `time.monotonic()`."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (_TERMINAL_SECONDS if self._line.is_terminal else _LOG_SECONDS)
        elapsed = {name: now - since for name, since in running_since.items()}
        line = status_line(trial_states, elapsed, self._slots, self._workdir)
        if self._line.is_terminal:
            line = line[: os.get_terminal_size(self._line.stream.fileno()).columns - 1]
        self._line.show(line)

    def close(self) -> None:
        """Ends the line that is kept up to date."""
        self._line.close()


def status_line(
    trial_states: list[TrialState], elapsed: Mapping[str, float], slots: int, workdir: Path
) -> str:
    """Returns one line: counts, time left, and what runs, each with its step and metric.

    Args:
      trial_states: the states of all trials that this runner shall finish.
      elapsed: seconds for which each of those that run has been running.
      slots: trials at once.
      workdir: the folder of the sweep.
    """
    counts = collections.Counter(trial_state.state for trial_state in trial_states)
    parts = [f"{counts[DONE]}/{len(trial_states)} done", f"{counts[RUNNING]} running"]
    parts += [f"{counts[state]} {state}" for state in (FAILED, STOPPED) if counts[state]]
    if (seconds := seconds_left(trial_states, elapsed, slots)) is not None:
        parts.append(f"{clock(seconds)} left")
    running = [_running(workdir / name) for name in elapsed]
    return " | ".join([", ".join(parts), *running])


def seconds_left(
    trial_states: list[TrialState], elapsed: Mapping[str, float], slots: int
) -> float | None:
    """Estimates the time to the end from the finished trials' mean; None if there is none yet."""
    durations = [r.seconds for r in trial_states if r.state == DONE and r.seconds > 0]
    if not durations:
        return None
    mean = sum(durations) / len(durations)
    pending = sum(trial_state.state == PENDING for trial_state in trial_states)
    work = pending * mean + sum(max(0.0, mean - seconds) for seconds in elapsed.values())
    return work / slots


def last_metrics(folder: Path) -> dict[str, Any]:
    """Returns the newest line of a run's metrics; nothing if there is none."""
    lines = RunFolder.read_metrics(folder, _TAIL_BYTES)
    return lines[-1] if lines else {}


def _running(folder: Path) -> str:
    metrics = last_metrics(folder)
    if "step" not in metrics:
        return f"{folder.name}: starts"
    text = f"{folder.name}: step {metrics['step']:,}"
    for metric in ("validation/error", "train/error"):
        if metric in metrics:
            return f"{text}, {metric} {metrics[metric]:.2%}"
    return text
