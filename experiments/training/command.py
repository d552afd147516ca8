"""How a command that trains tells how the training ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from experiments.runs import DIVERGED_EXIT_CODE
from experiments.system import Interrupted, command_line
from experiments.training.trainer import Diverged


@contextlib.contextmanager
def endings_in_a_line() -> Iterator[None]:
    """Ends the program with one line, and an exit code, if the training within does not succeed.

    The exit code is 1 for what a user can cause, `experiments.runs.DIVERGED_EXIT_CODE` for a number
    that is not finite (a sweep writes it down as the reason), and 128 and the signal's number for a
    signal.
    """
    try:
        with command_line.mistakes_in_a_line():
            yield
    except Diverged as error:
        command_line.fail(str(error), DIVERGED_EXIT_CODE)
    except Interrupted as interrupted:
        command_line.fail(str(interrupted), 128 + interrupted.signum)
