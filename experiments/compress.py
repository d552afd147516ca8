"""Makes a trained model small: chooses a structure for every layer, decomposes, and fine-tunes.

    python -m experiments.compress --from=runs/mnist --budget=0.08 --workdir=runs/mnist-small

The run in `--from` is only read. Its layers' structures are planned for the budget and printed;
`--dry_run` stops there. The new run starts from the decomposed parameters and is trained like any
other: the same command goes on where it stopped, and its workdir holds the same files and the plan
(`plan.json`). The budget is a fraction of the model's parameters (0.08), their number (34000),
FLOPs of the fully connected layers ('flops:0.5', 'flops:500000'), or a bound on the total relative
error ('error:0.1').

The config is the source's, or another one, `--config=configs/mnist.py`, whose fields can be set as
in `experiments.train`; in both, what the fully connected layers are made of comes from the plan. To
choose structures by hand, run `experiments.train` with `--config.compression.source=RUN`.
"""

from __future__ import annotations

from absl import flags
from ml_collections import config_flags

from experiments.system import command_line
from experiments.training import (
    CompressionRequest,
    endings_in_a_line,
    plan_run,
    train_and_evaluate,
)

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "File with a get_config() function. Default: the config of the run in --from."
)
_FROM = flags.DEFINE_string("from", None, "Folder of the finished run to compress.")
_BUDGET = flags.DEFINE_string(
    "budget", None, "What the model may cost: 0.08, 34000, flops:0.5, flops:500000 or error:0.1."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the new run; not with --dry_run.")
_METHOD = flags.DEFINE_enum(
    "method", "auto", ["auto", "kfc", "low_rank"], "What layers may become; auto: the better one."
)
_WEIGHTED = flags.DEFINE_bool(
    "weighted", True, "Least errors of layers' outputs on the training images, not of kernels."
)
_REORDERED = flags.DEFINE_bool(
    "reordered",
    True,
    "Put hidden units in the order that suits the chosen structures best; what the model computes "
    "stays.",
)
_FINETUNE_EPOCHS = flags.DEFINE_integer(
    "finetune_epochs",
    None,
    "Epochs of fine-tuning; 0: none. Default: a third of config.train.num_epochs. The warm-up "
    "shrinks in the same proportion.",
    lower_bound=0,
)
_LEARNING_RATE = flags.DEFINE_float(
    "learning_rate", None, "Of the fine-tuning. Default: config.optimizer.learning_rate."
)
_DISTILL = flags.DEFINE_float(
    "distill", 0.0, "Weight of the source's classes in the loss of the fine-tuning, 0 to 1."
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the plan, and stop.")
flags.mark_flags_as_required(["from", "budget"])


def main(argv: list[str]) -> None:
    """Compresses, and turns what a user can cause into one line and an exit code."""
    command_line.refuse_arguments(argv)
    with endings_in_a_line():
        if not (_WORKDIR.value or _DRY_RUN.value):
            raise ValueError("--workdir is missing; name a folder for the new run, or --dry_run.")
        request = CompressionRequest(
            source=_FROM.value,
            budget=_BUDGET.value,
            method=_METHOD.value,
            weighted=_WEIGHTED.value,
            reordered=_REORDERED.value,
            finetune_epochs=_FINETUNE_EPOCHS.value,
            learning_rate=_LEARNING_RATE.value,
            distill=_DISTILL.value,
        )
        planned = plan_run(request, _CONFIG.value, _WORKDIR.value)
        print(planned.plan, flush=True)
        if not _DRY_RUN.value:
            train_and_evaluate(planned.prepare())


if __name__ == "__main__":
    command_line.run_app(main)
