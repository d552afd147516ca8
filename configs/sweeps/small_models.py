"""House numbers with a quarter and a tenth of the parameters: a larger trunk for a smaller layer.

    ... --config=configs/sweeps/comparison.py:svhn_dense --workdir=runs/svhn-dense
    ... --config=configs/sweeps/small_models.py --workdir=runs/svhn-larger-trunk

after `python -m experiments.sweep`. What a Kronecker `fc1` saves is spent on the convolutions: 20,
40 and 80 channels, or 24, 48 and 96, instead of 16, 32 and 64. Trained as long as the dense small
model (553,594 parameters), first taught by the one of the same seed, then without a teacher. 3
seeds, all images of svhn_grey, the test split read once at the end.
"""

from collections.abc import Iterator

from configs.sweeps.comparison import dense_trial
from experiments.sweeping import Overrides, kfc, trial_folder

BASE = "configs/svhn.py:small"

_MODELS = {
    "4:16x16*80x32": ((20,), (40,), (80,)),  # 53,686 parameters
    "4:16x16*96x32": ((24,), (48,), (96,)),  # 71,730
}


def sweep() -> Iterator[Overrides]:
    """Yields the trials, first those with a teacher."""
    for is_taught in (True, False):
        for seed in range(3):
            for structure, channels in _MODELS.items():
                dense = dense_trial("svhn", seed)
                trial = dense | kfc("model.fc1", structure) | {"model.channels": channels}
                trial["optimizer.factor_gain"] = 0.125
                if is_taught:
                    trial["distillation.teacher"] = trial_folder("runs/svhn-dense", dense)
                yield trial
