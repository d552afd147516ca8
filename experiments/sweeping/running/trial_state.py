"""The files that say where a sweep stands: `sweep.json`, and `trial.json` in a trial's folder.

The runner alone writes them, whole or not at all. That a run is finished is said by its
`result.json`; where `trial.json` is lost or damaged, only the count of attempts is lost.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
from pathlib import Path
from typing import Any

from experiments.runs import failure_reason, is_finished
from experiments.sweeping.running.plan import Plan
from experiments.sweeping.trials import Trial
from experiments.system import json_files

_log = logging.getLogger(__name__)

PENDING, RUNNING, DONE, FAILED, STOPPED = "pending", "running", "done", "failed", "stopped"


@dataclasses.dataclass
class TrialState:
    """What `trial.json` holds.

    Attributes:
      name: the name of the trial's folder.
      overrides: the fields in which it differs from the base config.
      command: the line that runs it in a shell.
      state: `pending` (also when interrupted), `running`, `done`, `failed`, or `stopped` (early,
        as hopeless; it has no result).
      attempts: how often it was started.
      reason: why its last attempt failed, as a word for programs: `experiments.runs.DIVERGED`; None
        where no word is known.
      error: what a failed attempt said: a line that says why, then the end of its log.
      started: when the last attempt was, UTC.
      finished: when it ended, UTC.
      seconds: how long its attempts took, together.
    """

    name: str
    overrides: dict[str, Any]
    command: str
    state: str = PENDING
    attempts: int = 0
    reason: str | None = None
    error: str | None = None
    started: str | None = None
    finished: str | None = None
    seconds: float = 0.0

    @property
    def is_done(self) -> bool:
        """Whether the run has its result."""
        return self.state == DONE

    @property
    def has_failed(self) -> bool:
        """Whether it has no result, and is not tried again."""
        return self.state == FAILED

    def write(self, folder: Path) -> None:
        """Writes `trial.json`, all of it or nothing.

        Raises:
          OSError: if it cannot be written, for example because the disk is full.
        """
        folder.mkdir(parents=True, exist_ok=True)
        json_files.write(folder / "trial.json", dataclasses.asdict(self))


@dataclasses.dataclass
class _Written:
    """What `sweep.json` holds."""

    config: str = ""
    base: str = ""
    created: str = ""
    trials: list[Trial] = dataclasses.field(default_factory=list)


def open_state(trial: Trial, folder: Path, command: str) -> TrialState:
    """Returns where a trial in its folder stands, or that it is new; nothing is written.

    Raises:
      ValueError: if the folder belongs to a trial with other overrides.
    """
    trial_state = TrialState(trial.name, trial.overrides, command)
    written = _read(folder / "trial.json", TrialState)
    if written.get("overrides", trial.overrides) != json.loads(json.dumps(trial.overrides)):
        raise ValueError(
            f"{folder} holds the trial {written['overrides']}, not {trial.overrides}; take another "
            "--workdir."
        )
    for field in ("state", "attempts", "error", "started", "finished", "seconds"):
        setattr(trial_state, field, written.get(field, getattr(trial_state, field)))
    trial_state.reason = failure_reason(written) or None
    if is_finished(folder):
        trial_state.state, trial_state.reason, trial_state.error = DONE, None, None
    elif trial_state.state in (RUNNING, DONE):
        trial_state.state = PENDING  # the runner was killed, or the result was deleted
    return trial_state


def write_plan(plan: Plan, workdir: Path) -> None:
    """Writes `sweep.json`.

    A sweep is known by its config's path, or, as files may move, by its trials: the folder belongs
    to this one, too, if the plan has the same base config and all trials that the folder had.

    Raises:
      ValueError: if the folder belongs to another sweep.
      OSError: if it cannot be written.
    """
    path = workdir / "sweep.json"
    before = _read(path, _Written)
    if before.get("config", plan.config) != plan.config and not _has_all_of(plan, before):
        raise ValueError(
            f"{workdir} holds the sweep {before['config']}, not {plan.config}; take another "
            "--workdir."
        )
    json_files.write(
        path,
        {
            "config": plan.config,
            "base": plan.base,
            "created": before.get("created", now()),
            "trials": [dataclasses.asdict(trial) for trial in plan.trials],
        },
    )


def _has_all_of(plan: Plan, before: dict[str, Any]) -> bool:
    trials = json.loads(json.dumps([dataclasses.asdict(trial) for trial in plan.trials]))
    had = before.get("trials")
    return before.get("base") == plan.base and bool(had) and all(one in trials for one in had)


def now() -> str:
    """Returns the time, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _read(path: Path, kind: type) -> dict[str, Any]:
    """Returns what a file holds; nothing if it is missing or damaged, which a line says.

    Args:
      path: the file.
      kind: what it must hold.
    """
    try:
        return json_files.read_object(path, kind)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _log.warning("%s; it is written anew.", error)
        return {}
