r"""House numbers: twice the epochs of the learning-rate search, and a dense teacher on top.

    python -m experiments.sweep --config=configs/sweeps/comparison/dense.py:svhn \
        --workdir=runs/svhn-dense
    python -m experiments.sweep --config=configs/sweeps/longer_training.py \
        --workdir=runs/svhn-longer

The first one trains the dense models, the second the Kronecker
layer with 99% fewer parameters for as many epochs (12), from scratch, alone and taught by the dense
model of its seed. All training images of svhn_grey, 3 seeds, the test split read once at the end.
"""

from collections.abc import Iterator

from configs.sweeps.comparison.dense import dense_trial
from experiments.sweeping import Overrides, kfc, trial_folder

BASE = "configs/svhn.py:small"


def sweep() -> Iterator[Overrides]:
    """Yields the trials, first those without a teacher."""
    for is_taught in (False, True):
        for seed in range(3):
            teacher = dense_trial("svhn", seed)
            trial = {
                **{field: v for field, v in teacher.items() if not field.startswith("model.")},
                **kfc("model.fc1", "2:16x16*64x32"),
                "optimizer.factor_gain": 0.125,
            }
            if is_taught:
                trial["distillation.teacher"] = trial_folder("runs/svhn-dense", teacher)
            yield trial
