"""Trains a model: `python -m experiments.train --config=configs/mnist.py --workdir=runs/mnist`.

Every field of the config can be set on the command line: `--config.model.fc1.kind=dense`. The same
command on the same workdir goes on where an interrupted run stopped.
"""

from __future__ import annotations

from absl import flags
from ml_collections import config_flags

from experiments.system import command_line
from experiments.training import command as training_command
from experiments.training import run as training

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
    with command_line.mistakes_in_a_line():
        run = training.prepare(_CONFIG.value, _WORKDIR.value)
        if training_command.show_result(run):
            return
        training_command.claim(run)
        images = training.load_images(run.config)
        start = training.make_start(run, images)
    training_command.train(run, images, start)


if __name__ == "__main__":
    command_line.run_app(main)
