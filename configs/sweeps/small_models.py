"""Small models that should be as good as dense ones, with a quarter and a tenth of the parameters.

    ... --config=configs/sweeps/comparison.py:NETWORK_dense --workdir=runs/NETWORK-dense
    ... --config=configs/sweeps/small_models.py:NETWORK --workdir=runs/NETWORK-small-models

after `python -m experiments.sweep`; the dense models (3 seeds) are the teachers.

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
    mnist        LeNet-5 has one size; decomposed from the dense one (431,080 parameters) and
                 fine-tuned for as long as that was trained, with a teacher.

All training images, the test split read once at the end (of decomposed models before the training,
too).
"""

from collections.abc import Iterator

from configs.sweeps.comparison import dense_trial, start_from
from experiments.sweeping import Overrides, kfc, low_rank, trial_folder

BASE = {
    "svhn": "configs/svhn.py:small",
    "regularised": "configs/svhn.py:small",
    "characters": "configs/characters.py:small",
    "characters-regularised": "configs/characters.py:small",
    "mnist": "configs/mnist.py",
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
    "mnist": [
        kfc(_LAYER, "7:16x20*50x25"),  # 42,070
        kfc(_LAYER, "48:16x20*50x25"),  # 106,440
    ],
}
_FACTOR_GAIN = {
    "svhn": 0.125,
    "regularised": 0.125,
    "characters": 0.25,
    "characters-regularised": 0.25,
}


def sweep(network: str) -> Iterator[Overrides]:
    """Yields the trials, first those with a teacher."""
    for is_taught in (True, False) if network == "svhn" else (True,):
        for seed in range(3):
            dense = dense_trial(network, seed)
            teacher = {"distillation.teacher": trial_folder(f"runs/{network}-dense", dense)}
            if network == "mnist":
                trial = start_from(network, dense) | {
                    "optimizer.learning_rate": 4e-3,
                    "train.num_epochs": dense["train.num_epochs"],
                }
            else:
                trial = dense | {"optimizer.factor_gain": _FACTOR_GAIN[network]}
            for model in _MODELS[network]:
                yield trial | model | (teacher if is_taught else {})
            if is_taught and network in ("svhn", "regularised"):
                yield dense | teacher
