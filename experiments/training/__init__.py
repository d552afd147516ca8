"""A run from its config to its result, whether it starts anew or from a finished run.

- `prepare`: checks a config and the folder of a run, and reads what the run builds on.
- `train_and_evaluate`: trains a prepared run to its end; every command that trains calls it.
- `endings_in_a_line`: tells in a line, and by an exit code, how training ended a command.
- `CompressionRequest`, `plan_run`: from a finished run and a budget to a smaller run.
- `TrainedModel`: the model of a finished run, with its arrays.
- `checked_config`: finds everything that can be wrong with a config, before long work starts.
- `learning_rate_schedule`, `make_optimizer`: the optimizer of a config.
- `create_state`, `compile_train_step`: one training step, compiled.
"""

from experiments.training.check_config import checked_config
from experiments.training.command import endings_in_a_line
from experiments.training.compression_request import CompressionRequest, plan_run
from experiments.training.optimizers import learning_rate_schedule, make_optimizer
from experiments.training.run import prepare
from experiments.training.steps import compile_train_step, create_state
from experiments.training.trained_model import TrainedModel
from experiments.training.trainer import train_and_evaluate

__all__ = [
    "CompressionRequest",
    "TrainedModel",
    "checked_config",
    "compile_train_step",
    "create_state",
    "endings_in_a_line",
    "learning_rate_schedule",
    "make_optimizer",
    "plan_run",
    "prepare",
    "train_and_evaluate",
]
