"""Publishes a finished run: one small file with its model, and a card that tells what it is.

    python -m experiments.publish runs/mnist --out=results/models/mnist

The folder in `--out` gets `model.safetensors` (parameters, running statistics and the layers'
structures; no code) and `README.md` (data and its terms, command, sizes, test error, how to load).
Its name is the model's. The run is only read. Two lines load the model:

    from experiments.models import load_published
    model, variables = load_published("results/models/mnist")

`--seeds=FOLDER`, once or several times, names sweeps, runs or kept runs; those of them with the
config of this run and another seed tell how much seeds matter, and the card says it. A run that is
not finished, one that was not tested, and a file of over 300 kB are refused, the last one unless
there is `--any_size`.
"""

from __future__ import annotations

from absl import flags

from experiments.publishing import publish
from experiments.system import command_line

_OUT = flags.DEFINE_string("out", None, "Folder of the published model; made if need be.")
_SEEDS = flags.DEFINE_multi_string(
    "seeds", [], "Folder of a sweep, runs or kept runs with other seeds of the same config."
)
_COMMAND = flags.DEFINE_string(
    "command", "", "The command that trained the run. Default: what the files of the run say."
)
_ANY_SIZE = flags.DEFINE_bool("any_size", False, "Publish a file of over 300 kB as well.")
flags.mark_flag_as_required("out")


def main(argv: list[str]) -> None:
    """Publishes, and turns what a user can cause into one line and an exit code."""
    with command_line.mistakes_in_a_line():
        if len(argv) != 2:
            raise ValueError(
                f"There is one run to publish, and {len(argv) - 1} were named: "
                "python -m experiments.publish RUN --out=FOLDER."
            )
        out = publish(
            argv[1],
            _OUT.value,
            seeds=_SEEDS.value,
            command=_COMMAND.value,
            any_size=_ANY_SIZE.value,
        )
        print((out / "README.md").read_text())
        print(f"Published: {out}")


if __name__ == "__main__":
    command_line.run_app(main)
