"""Trains a model: `python -m experiments.train --config=configs/mnist.py --workdir=runs/mnist`.

Every field of the config can be set on the command line: `--config.model.fc1.kind=dense`. The same
command on the same workdir goes on where an interrupted run stopped.
"""

from __future__ import annotations

import re
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from experiments import training
from experiments.interruption import Interrupted

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "File with a get_config() function, for example configs/mnist.py."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run: checkpoints, metrics and results go there."
)
flags.mark_flags_as_required(["config", "workdir"])


def main(argv: list[str]) -> None:
    """Trains, and turns what a user can cause into one line and an exit code."""
    if len(argv) > 1:
        _fail(f"unexpected argument {argv[1]!r}; flags are written --name=value.")
    try:
        run = training.prepare(_CONFIG.value, _WORKDIR.value)
        if result := run.folder.result():
            print(f"The run in {run.folder.path} is finished already; its result:")
            print(training.summary(result))
            return
        images = training.load_images(run.config)
    except (ValueError, OSError, ImportError) as error:
        _fail(str(error))
    try:
        training.train(run, images)
        print(f"Result: {run.folder.path / 'result.json'}")
    except FloatingPointError as error:
        _fail(str(error))
    except Interrupted as interrupted:
        _fail(str(interrupted), 128 + interrupted.signum)


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line, with one line for an error in the config's fields, too."""
    try:
        arguments = app.parse_flags_with_usage(argv)
        if flags.FLAGS["verbosity"].using_default_value:
            flags.FLAGS.verbosity = logging.WARNING  # Orbax informs a lot; --verbosity=0 shows it
        return arguments
    except (AttributeError, KeyError) as error:
        # ml_collections names the field in quotes, and perhaps one that was meant.
        name, *meant = re.findall(r"^\W*(\w+)|mean \W*(\w+)", str(error))
        name, hint = name[0], f"; perhaps {meant[0][1]!r} was meant" if meant else ""
        guilty = [arg for arg in argv if name in arg.partition("=")[0].split(".")]
        _fail(f"{' '.join(guilty)}: the config has no field {name!r}{hint}.")
    except OSError as error:
        _fail(str(error))


def _fail(message: str, code: int = 1) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    try:
        app.run(main, flags_parser=parse_flags)
    except KeyboardInterrupt:
        _fail("interrupted; what was saved stays, and the same command goes on from there.", 130)
