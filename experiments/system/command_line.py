"""What the commands have in common: flags, mistakes told in a line, exit codes."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging

_HELP = {"help", "helpshort", "helpfull", "helpxml", "?"}


def run_app(main: Callable[[list[str]], None]) -> None:
    """Parses the command line and calls `main` with what is no flag."""
    try:
        app.run(main, flags_parser=_parse_flags)
    except KeyboardInterrupt:
        fail("interrupted; what was saved stays, and the same command goes on from there.", 130)


@contextlib.contextmanager
def mistakes_in_a_line() -> Iterator[None]:
    """Ends the program with one line and an exit code for what a user can cause.

    The traceback is shown, too, with `--verbosity=0`.
    """
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        logging.info("The traceback of the error:", exc_info=True)
        fail(str(error))


def fail(message: str, code: int = 1) -> NoReturn:
    """Ends the program with a line on the error output."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def refuse_arguments(argv: list[str]) -> None:
    """Ends the program if there is an argument that is no flag."""
    if len(argv) > 1:
        fail(f"unexpected argument {argv[1]!r}; flags are written --name=value.")


def _refuse_missing_config(argv: list[str]) -> None:
    """Ends the program if the config is not there, which is told late and at length otherwise."""
    given = [argument for argument in argv if re.match("--?config=", argument)]
    if not given or flags.FLAGS["config"].flag_type() == "string":
        return
    path = given[-1].partition("=")[2].partition(":")[0]
    if path and not Path(path).is_file():
        fail(f"--config={path}: there is no such file; paths start at {Path.cwd()}.")


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line, with one line for an error in the config's fields, too."""
    _refuse_missing_config(argv)
    try:
        arguments = flags.FLAGS(argv)
        if flags.FLAGS["verbosity"].using_default_value:
            flags.FLAGS.verbosity = logging.WARNING  # Orbax informs a lot; --verbosity=0 shows it
        return arguments
    except (AttributeError, KeyError) as error:
        # ml_collections names the field in quotes, and perhaps one that was meant.
        name, *meant = re.findall(r"^\W*(\w+)|mean \W*(\w+)", str(error))
        name, hint = name[0], f"; perhaps {meant[0][1]!r} was meant" if meant else ""
        guilty = [arg for arg in argv if name in arg.partition("=")[0].split(".")]
        if not guilty:  # not a field of a config that was read
            fail(
                f"--config cannot be read: {error}. A config has a function get_config; those of "
                "sweeps are for experiments.sweep."
            )
        fail(f"{' '.join(guilty)}: the config has no field {name!r}{hint}.")
    except OSError as error:
        fail(str(error))
    except flags.Error as error:
        # An error inside a config comes with its whole traceback; the last line tells it.
        flag, *trace = re.split(r": Error whilst parsing config file:", str(error), maxsplit=1)
        if trace:
            fail(f"{flag}: --config cannot be read: {trace[0].strip().splitlines()[-1].strip()}")
        fail(f"{error}\n--help lists the flags.")
    except (SyntaxError, TypeError, ValueError) as error:
        fail(f"--config cannot be read: {error}")
    except SystemExit as ended:
        # Absl's --help and its like end as mistakes do.
        sys.exit(0 if _HELP & {arg.lstrip("-") for arg in argv[1:]} else ended.code)
