"""What the commands that train have in common once the run is prepared."""

from __future__ import annotations

from experiments.system import command_line
from experiments.system.interruption import Interrupted
from experiments.system.locks import FolderLock, lock_folder
from experiments.training import run as training
from experiments.training.start_from_dense import Start


def claim(run: training.Run) -> FolderLock:
    """Locks the run's folder until the end of the process, as two would spoil each other's files.

    Raises:
      ValueError: if another process trains in it.
      OSError: if the lock file cannot be written.
    """
    return lock_folder(run.folder.path, ".training.lock")


def show_result(run: training.Run) -> bool:
    """Prints the result of a run that is finished already; returns whether it is."""
    if result := run.folder.result():
        print(f"The run in {run.folder.path} is finished already; its result:")
        print(training.summary(result))
    return bool(result)


def train(run: training.Run, images: training.Images, start: Start | None) -> None:
    """Trains to the end; a stop or a number that is not finite is told in a line."""
    try:
        training.train(run, images, start)
        print(f"Result: {run.folder.path / 'result.json'}")
    except FloatingPointError as error:
        command_line.fail(str(error))
    except Interrupted as interrupted:
        command_line.fail(str(interrupted), 128 + interrupted.signum)
