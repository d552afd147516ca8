"""The runner: takes the trials of a plan from pending to done, whatever happens on the way."""

from __future__ import annotations

import collections
import dataclasses
import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.runs import RunFolder
from experiments.sweeping.running.attempt import Ending, Job
from experiments.sweeping.running.executors import GRACE_SECONDS, Executor, stop_all
from experiments.sweeping.running.halving import SuccessiveHalving
from experiments.sweeping.running.hparams import write_hparams
from experiments.sweeping.running.plan import Plan, trial_configs
from experiments.sweeping.running.progress import SweepProgress
from experiments.sweeping.running.trial_state import (
    DONE,
    FAILED,
    PENDING,
    RUNNING,
    STOPPED,
    TrialState,
    now,
    open_state,
    write_plan,
)
from experiments.sweeping.trials import Trial
from experiments.system import deferred_signals, lock_folder

_POLL_SECONDS = 0.05

TRAIN = (sys.executable, "-m", "experiments.train")

MAX_ATTEMPTS = 3
"""How often a trial that fails is tried, unless another number is given."""


class SweepInterrupted(Exception):
    """A signal stopped the sweep; its trials were stopped and their states saved.

    Attributes:
      signum: the signal.
    """

    def __init__(self, signum: int):
        super().__init__(
            f"{signal.Signals(signum).name} stopped the sweep; the same command goes on from here."
        )
        self.signum = signum


def run_sweep(
    plan: Plan,
    trials: Sequence[Trial],
    workdir: Path,
    make_executor: Callable[[], Executor],
    *,
    max_attempts: int = MAX_ATTEMPTS,
    early_stopping: bool = False,
    program: tuple[str, ...] = TRAIN,
) -> list[TrialState]:
    """Checks some trials of a plan, then runs them in `workdir`; returns where they stand.

    Args:
      plan: the plan of the sweep.
      trials: the trials of the plan to run.
      workdir: the sweep's folder, absolute; made if need be.
      make_executor: returns what runs them; called once all is checked.
      max_attempts: how often a trial that fails is tried.
      early_stopping: whether to stop hopeless trials, see `halving`.
      program: the command that trains, to which a trial's arguments are added.

    Raises:
      ValueError: if a trial cannot run, or `workdir` belongs to another sweep, to another runner or
        to runs with other configs.
      OSError: if the sweep's files cannot be written, for example because the disk is full.
      SweepInterrupted: if a signal stopped the sweep.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    lock = lock_folder(workdir, ".sweep.lock")
    try:
        configs = trial_configs(plan, trials, workdir)
        for trial in trials:
            if (workdir / trial.name / "config.json").exists():
                RunFolder(workdir / trial.name, configs[trial.name]).open()  # refuses another one
        write_plan(plan, workdir)
        executor = make_executor()
        progress = SweepProgress(workdir, executor.slots)
        progress.say(f"{len(trials)} trials in {workdir}, {executor.slots} at once")
        return SweepRunner(
            plan,
            trials,
            configs,
            workdir,
            executor,
            progress,
            max_attempts=max_attempts,
            find_hopeless=SuccessiveHalving(workdir, configs) if early_stopping else None,
            program=program,
        ).run()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(
            f"The disk of {workdir} is full. Free some space, then start the same command again: "
            "it goes on from here."
        ) from error
    finally:
        lock.close()


def preview(plan: Plan, trials: Sequence[Trial], workdir: Path) -> list[TrialState]:
    """Checks some trials of a plan as `run_sweep` does; returns where they stand, and runs nothing.

    Raises:
      ValueError: if a trial cannot run, or a trial's folder belongs to another one.
    """
    trial_configs(plan, trials, workdir)
    return [_state_of(plan, trial, workdir) for trial in trials]


@dataclasses.dataclass
class SweepRunner:
    """Runs some trials of a plan; the sweep must be locked for this process.

    Attributes:
      plan: the plan of the sweep.
      trials: the trials of the plan to run.
      configs: the config of every one of `trials`, by its name, nested.
      workdir: the sweep's folder, absolute.
      executor: what runs them.
      progress: where the sweep tells how it stands.
      max_attempts: how often a trial that fails is tried, counted anew at every start of the sweep.
      find_hopeless: given where all trials stand, returns the names of running trials to stop
        early, see `halving`; None: no trial is stopped.
      program: the command that trains, to which a trial's arguments are added.
      grace_seconds: how long a trial that is stopped may take to save its state.
    """

    plan: Plan
    trials: Sequence[Trial]
    configs: Mapping[str, Any]
    workdir: Path
    executor: Executor
    progress: SweepProgress
    max_attempts: int
    find_hopeless: Callable[[list[TrialState]], set[str]] | None
    program: tuple[str, ...]
    grace_seconds: float = GRACE_SECONDS

    def __post_init__(self) -> None:
        self.trial_states: dict[str, TrialState] = {}
        self._queue: collections.deque[Trial] = collections.deque()
        self._tries: collections.Counter[str] = collections.Counter()
        self._since: dict[str, float] = {}
        self._hopeless: set[str] = set()
        self._fields = list(
            dict.fromkeys(field for trial in self.plan.trials for field in trial.overrides)
        )

    def run(self) -> list[TrialState]:
        """Runs the trials to their ends; returns where they stand, in the plan's order.

        Raises:
          SweepInterrupted: if a signal stopped the sweep.
          OSError: if a `trial.json` cannot be written, for example because the disk is full; what
            runs is stopped first.
          ValueError: if a trial's folder belongs to another one.
        """
        try:
            self._open()
            with deferred_signals() as pending:
                while self._queue or self.executor.running:
                    if pending.signum is not None:
                        self.progress.say("Stopping; the trials save their states ...")
                        raise SweepInterrupted(pending.signum)
                    self._step()
                    time.sleep(_POLL_SECONDS)
        finally:
            self._stop()
        self.progress.say(
            f"{sum(r.state == DONE for r in self.trial_states.values())} of "
            f"{len(self.trial_states)} trials are done."
        )
        return list(self.trial_states.values())

    def _open(self) -> None:
        """Reads where the trials stand, and queues those without a result."""
        for trial in self.trials:
            folder = self.workdir / trial.name
            trial_state = _state_of(self.plan, trial, self.workdir)
            self.trial_states[trial.name] = trial_state
            if trial_state.state == DONE:
                self._show_in_tensorboard(trial)
            elif trial_state.state == STOPPED and self.find_hopeless:
                continue
            else:
                trial_state.state = PENDING
                self._queue.append(trial)
            trial_state.write(folder)
        # What was begun goes first: its process may have outlived a killed runner.
        self._queue = collections.deque(
            sorted(self._queue, key=lambda trial: self.trial_states[trial.name].attempts == 0)
        )

    def _step(self) -> None:
        while self._queue and len(self.executor.running) < self.executor.slots:
            self._start(self._queue.popleft())
        for name, outcome in self.executor.poll().items():
            self._end(name, outcome)
        if self.find_hopeless:
            for name in self.find_hopeless(list(self.trial_states.values())) - self._hopeless:
                self._hopeless.add(name)
                self.executor.stop(name)
        self.progress.update(list(self.trial_states.values()), self._since)

    def _start(self, trial: Trial) -> None:
        trial_state, folder = self.trial_states[trial.name], self.workdir / trial.name
        self._tries[trial.name] += 1
        trial_state.attempts += 1
        trial_state.state, trial_state.reason, trial_state.error = RUNNING, None, None
        trial_state.started, trial_state.finished = now(), None
        trial_state.write(folder)
        self._since[trial.name] = time.monotonic()
        arguments = trial.arguments(self.plan.base, self.workdir)
        job = Job(trial.name, folder, (*self.program, *arguments), Path.cwd(), self._environment())
        self.executor.start(job)

    def _end(self, name: str, outcome: Ending, *, is_stopping: bool = False) -> None:
        """Records how an attempt ended, and queues the trial again if it may be."""
        trial_state, folder = self.trial_states[name], self.workdir / name
        seconds = time.monotonic() - self._since.pop(name)
        trial_state.seconds = round(trial_state.seconds + seconds, 2)
        trial_state.finished = now()
        trial = next(trial for trial in self.trials if trial.name == name)
        if outcome.is_done:
            trial_state.state = DONE
            self._show_in_tensorboard(trial)
        elif is_stopping:
            trial_state.state = PENDING
        elif name in self._hopeless:
            trial_state.state = STOPPED
        elif self._tries[name] < self.max_attempts:
            trial_state.state = PENDING
            self._queue.append(trial)
        else:
            trial_state.state = FAILED
        if trial_state.state in (FAILED, PENDING) and not is_stopping:
            trial_state.reason, trial_state.error = outcome.reason, outcome.error
        trial_state.write(folder)
        if is_stopping:
            return
        if trial_state.error:
            again = " It will be tried again." if trial_state.state == PENDING else ""
            reason = trial_state.error if not again else trial_state.error.splitlines()[0]
            self.progress.say(f"{name} failed (attempt {trial_state.attempts}).{again} {reason}")
        else:
            self.progress.say(f"{name}: {trial_state.state} in {seconds:.0f} s")

    def _stop(self) -> None:
        """Stops what still runs; nothing does after a regular end."""
        try:
            for name, outcome in stop_all(self.executor, self.grace_seconds).items():
                self._end(name, outcome, is_stopping=True)
            for name in self.executor.running:
                self._end(name, Ending(False), is_stopping=True)
        finally:
            self.executor.close()
            self.progress.close()

    def _environment(self) -> dict[str, str]:
        """Returns this process's settings, which may have to travel, and JAX's cache on disk.

        Through the cache, trials share compiled programs.
        """
        settings = {k: v for k, v in os.environ.items() if k.startswith(("JAX_", "XLA_", "TFDS_"))}
        return settings | {
            "JAX_COMPILATION_CACHE_DIR": os.environ.get(
                "JAX_COMPILATION_CACHE_DIR", str(self.workdir / "compilation_cache")
            ),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "PYTHONUNBUFFERED": "1",
        }

    def _show_in_tensorboard(self, trial: Trial) -> None:
        folder = self.workdir / trial.name
        try:
            write_hparams(folder, trial.overrides, self._fields, self.configs[trial.name])
        except (OSError, ValueError, KeyError) as error:
            self.progress.say(f"{trial.name}: not shown in TensorBoard's HParams: {error}")


def _state_of(plan: Plan, trial: Trial, workdir: Path) -> TrialState:
    command = trial.command(plan.base, _relative(workdir))
    return open_state(trial, workdir / trial.name, command)


def _relative(path: Path) -> Path:
    """Returns the path as a person would write it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
