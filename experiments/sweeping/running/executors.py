"""What runs a sweep's jobs: the interface, and subprocesses on this machine."""

from __future__ import annotations

import time
from typing import Protocol

from experiments.sweeping.running.attempt import Attempt, Ending, Job
from experiments.sweeping.running.shares import Share, shares
from experiments.system import available_cores, available_gpus

GRACE_SECONDS = 60.0
"""How long a run that is stopped may take to save its state."""


class Executor(Protocol):
    """Runs jobs, several at once.

    Attributes:
      slots: how many.
      running: names of the trials that it runs.
    """

    slots: int

    @property
    def running(self) -> set[str]:
        """Names of the trials that it runs."""
        ...

    def start(self, job: Job) -> None:
        """Starts a job; there must be a free slot."""
        ...

    def poll(self) -> dict[str, Ending]:
        """Returns the outcomes of the trials that ended since the last call."""
        ...

    def stop(self, name: str) -> None:
        """Asks a running trial to save its state and end."""
        ...

    def close(self) -> None:
        """Kills what still runs, and gives all back."""
        ...


class LocalExecutor:
    """Runs every job as a subprocess, on its share of this machine."""

    @classmethod
    def of_this_machine(cls, parallel: int) -> LocalExecutor:
        """Returns one that divides this machine's cores and GPUs among `parallel` trials.

        Args:
          parallel: how many run at once; 0: one per GPU, or one per core without GPUs.

        Raises:
          ValueError: if `parallel` is negative.
        """
        return cls(shares(parallel, available_cores(), available_gpus()))

    def __init__(self, shares: list[Share]):
        """Takes one share of the machine per slot."""
        self.slots = len(shares)
        self._free = list(reversed(shares))
        self._attempts: dict[str, tuple[Attempt, Share]] = {}

    @property
    def running(self) -> set[str]:
        """Names of the trials that it runs."""
        return set(self._attempts)

    def start(self, job: Job) -> None:
        """Starts a job on a free share."""
        share = self._free.pop()
        self._attempts[job.name] = Attempt(job, share), share

    def poll(self) -> dict[str, Ending]:
        """Returns the outcomes of the trials that ended since the last call."""
        outcomes = {}
        for name, (attempt, share) in list(self._attempts.items()):
            if outcome := attempt.poll():
                outcomes[name] = outcome
                del self._attempts[name]
                self._free.append(share)
        return outcomes

    def stop(self, name: str) -> None:
        """Sends SIGTERM, at which a run saves a checkpoint."""
        self._attempts[name][0].stop()

    def close(self) -> None:
        """Kills what still runs."""
        for attempt, _ in self._attempts.values():
            attempt.kill()


def stop_all(executor: Executor, grace_seconds: float = GRACE_SECONDS) -> dict[str, Ending]:
    """Stops all that runs, and returns the outcomes of what ended within the grace period."""
    for name in executor.running:
        executor.stop(name)
    outcomes: dict[str, Ending] = {}
    deadline = time.monotonic() + grace_seconds
    while executor.running and time.monotonic() < deadline:
        outcomes |= executor.poll()
        time.sleep(0.02)
    return outcomes
