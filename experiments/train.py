"""Trains a model: `python -m experiments.train --config=configs/mnist.py --workdir=runs/mnist`.

Every field of the config can be set on the command line: `--config.model.fc1.kind=dense`. The same
command on the same workdir goes on where an interrupted run stopped.
"""

from __future__ import annotations

from absl import flags
from ml_collections import config_flags

from experiments.system import command_line
from experiments.training import endings_in_a_line, prepare, train_and_evaluate

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "File with a get_config() function, for example configs/mnist.py."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run: checkpoints, metrics and results go there."
)
flags.mark_flags_as_required(["config", "workdir"])


def main(argv: list[str]) -> None:
    """Trains, and turns what a user can cause into one line and an exit code."""
    command_line.refuse_arguments(argv)
    with endings_in_a_line():
        train_and_evaluate(prepare(_CONFIG.value, _WORKDIR.value))


if __name__ == "__main__":
    command_line.run_app(main)
