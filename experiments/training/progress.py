"""What a run tells while it runs, and where its time goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from experiments.system import StatusLine, clock


class Stopwatch:
    """Seconds spent on every activity, which may lie within each other.

    Attributes:
      seconds: the seconds by the activity's name.
    """

    def __init__(self, **seconds: float):
        self.seconds = dict.fromkeys(("compile", "train", "data_wait", "eval", "checkpoint"), 0.0)
        self.seconds |= seconds

    @contextmanager
    def __call__(self, activity: str) -> Iterator[None]:
        """Adds the time that passes within the `with` block to `activity`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[activity] += time.perf_counter() - start

    def data_wait_fraction(self) -> float:
        """Returns the part of the training time that was spent waiting for batches."""
        return self.seconds["data_wait"] / max(self.seconds["train"], 1e-9)


class Progress:
    """One line that is updated in a terminal; plain lines in a log.

    Args:
      num_steps: steps of the whole run.
      steps_per_epoch: steps of an epoch.
      stream: where to write. Default: standard output.
    """

    def __init__(self, num_steps: int, steps_per_epoch: int, stream: TextIO | None = None):
        self._num_steps = num_steps
        self._steps_per_epoch = steps_per_epoch
        self._line = StatusLine(stream)

    def update(self, step: int, metrics: dict[str, float]) -> None:
        """Shows where the training stands, from the numbers that go to the metrics."""
        seconds_left = (self._num_steps - step) / max(metrics["steps_per_second"], 1e-9)
        self._line.show(
            f"epoch {step / self._steps_per_epoch:.2f}/{self._num_steps // self._steps_per_epoch}"
            f"  step {step:,}/{self._num_steps:,}  loss {metrics['train/loss']:.4f}"
            f"  error {metrics['train/error']:.2%}  {metrics['steps_per_second']:.1f} steps/s"
            f"  {clock(seconds_left)} left  data wait {metrics['data_wait_fraction']:.1%}"
        )
        if "validation/error" in metrics:
            self.say(
                f"epoch {step / self._steps_per_epoch:.0f}: validation error "
                f"{metrics['validation/error']:.2%}, loss {metrics['validation/loss']:.4f}"
            )

    def say(self, message: str) -> None:
        """Writes lines that stay."""
        self.close()  # where training stood stays above them
        self._line.say(message)

    def close(self) -> None:
        """Ends the line that is being updated, if there is one."""
        self._line.close()
