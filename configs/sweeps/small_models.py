r"""Small models that should be as good as dense ones, with a quarter and a tenth of the parameters.

    python -m experiments.sweep --config=configs/sweeps/comparison/dense.py:NETWORK \
        --workdir=runs/NETWORK-dense
    python -m experiments.sweep --config=configs/sweeps/small_models.py:NETWORK \
        --workdir=runs/NETWORK-small-models

The dense models (3 seeds) are the teachers.

    svhn         What a Kronecker `fc1` saves is spent on the convolutions: 20, 40 and 80 channels,
                 or 24, 48 and 96, instead of 16, 32 and 64. From scratch, as long as the dense
                 small model (553,594 parameters), first with a teacher, then without; and that
                 dense model with the teacher.
    regularised  Its first model and its teacher with the weight decay that is best for each; and
                 that teacher with a teacher.
    characters   The same (dense: 2,583,859 parameters) with 24, 48 and 96 channels and a classifier
                 of low rank, with a teacher only.
    characters-regularised
                 The first of these with the weight decay that is best for the dense one.
    mnist-regularised
                 The convolutional network with batch norm instead of LeNet-5 (dense: 431,080
                 parameters), in three sizes, with that as a teacher; and its `fc1` dense, to see
                 what is due to the network.
    mnist-regularised_rates
                 The smallest of these at three learning rates, without a teacher, one seed; errors
                 are of 10,000 validation images, the test split is not looked at.

All others have all training images, and the test split is read once at the end.
"""

from collections.abc import Iterator

from configs.sweeps.comparison.dense import dense_trial
from experiments.sweeping import Overrides, dense, kfc, low_rank, trial_folder, values

BASE = {
    "svhn": "configs/svhn.py:small",
    "regularised": "configs/svhn.py:small",
    "characters": "configs/characters.py:small",
    "characters-regularised": "configs/characters.py:small",
    "mnist-regularised": "configs/svhn.py:small",
    "mnist-regularised_rates": "configs/svhn.py:small",
}

_LAYER = "model.fc1"
_CHARACTERS = [
    kfc(_LAYER, "8:36x32*96x32")
    | low_rank("model.fc2", rank)
    | {"model.channels": ((24,), (48,), (96,))}
    for rank in (72, 96)  # 175,555, 204,811
]
_MODELS: dict[str, list[Overrides]] = {
    "svhn": [
        kfc(_LAYER, "4:16x16*80x32") | {"model.channels": ((20,), (40,), (80,))},  # 53,686
        kfc(_LAYER, "4:16x16*96x32") | {"model.channels": ((24,), (48,), (96,))},  # 71,730
    ],
    "regularised": [
        kfc(_LAYER, "4:16x16*80x32")
        | {"model.channels": ((20,), (40,), (80,)), "optimizer.weight_decay": 0.3},  # 53,686
    ],
    "characters": _CHARACTERS,
    "characters-regularised": _CHARACTERS[:1],
    "mnist-regularised": [
        kfc(_LAYER, "4:49x16*48x32") | {"model.channels": ((24,), (48,))},  # 26,034
        kfc(_LAYER, "4:49x16*48x32") | {"model.channels": ((24, 24), (48, 48))},  # 51,954
        kfc(_LAYER, "4:49x16*40x32") | {"model.channels": ((20, 20), (40, 40))},  # 39,718
        dense(_LAYER) | {"model.channels": ((24,), (48,))},
    ],
}
_FACTOR_GAIN = {
    "svhn": 0.125,
    "regularised": 0.125,
    "characters": 0.25,
    "characters-regularised": 0.25,
    "mnist-regularised": 0.25,
}


def sweep(variant: str) -> Iterator[Overrides]:
    """Yields the trials, first those with a teacher."""
    network = variant.removesuffix("_rates")
    if variant != network:
        for rate in values("optimizer.learning_rate", 4e-3, 8e-3, 1.6e-2):
            trial = _trial(network, dense_trial(network, 0)) | _MODELS[network][0] | rate
            yield trial | {"data.num_validation": 10_000, "train.test_at_end": False}
        return
    for is_taught in (True, False) if network == "svhn" else (True,):
        for seed in range(3):
            big = dense_trial(network, seed)
            teacher = {"distillation.teacher": trial_folder(f"runs/{network}-dense", big)}
            for model in _MODELS[network]:
                yield _trial(network, big) | model | (teacher if is_taught else {})
            if is_taught and network in ("svhn", "regularised"):
                yield big | teacher


def _trial(network: str, big: Overrides) -> Overrides:
    """Returns the trial of a dense model with the settings of the small models."""
    trial = big | {"optimizer.factor_gain": _FACTOR_GAIN[network]}
    if network == "mnist-regularised":
        return trial | {"model.image_shape": (28, 28, 1), "optimizer.learning_rate": 8e-3}
    return trial
