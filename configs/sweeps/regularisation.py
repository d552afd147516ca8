"""Weight decay and dropout: how much each method wants.

    python -m experiments.sweep --config=configs/sweeps/regularisation.py:svhn --workdir=runs/decay

`fc1` dense, as Kronecker sums and of low rank, from scratch at the rates and gains of
`comparison/networks.py`:

    svhn         the small network on svhn_grey, 12 epochs; first the weight decay (without
                 dropout), then the dropout
    mnist        LeNet-5, 6 epochs; the weight decay, for dense at twice the rate, too
    characters   the small network on hwdb195, 4 epochs, seven minutes of a core; the weight decay
    taught       weight decay of the fine-tuning with a teacher, house numbers; the dense model
                 comes first (`comparison/dense.py:regularised`)

One seed; errors are of 4,000, 10,000 and 8,000 validation images, the test split is not looked at.
svhn_grey and hwdb195 are prepared subsets that are looked for in TFDS_DATA_DIR.
"""

from collections.abc import Iterator

from configs.sweeps.comparison import tuning_taught
from configs.sweeps.comparison.dense import dense_trial_for_tuning
from configs.sweeps.comparison.from_scratch import in_place_of_dense
from experiments.sweeping import Overrides, kfc, low_rank, product

BASE = {
    "svhn": "configs/svhn.py:small",
    "mnist": "configs/mnist.py",
    "characters": "configs/characters.py:small",
    "taught": "configs/svhn.py:small",
}

_LAYER = "model.fc1"
_LAYERS = {
    "svhn": [
        kfc(_LAYER, "8:16x16*64x32"),
        low_rank(_LAYER, 12),
        kfc(_LAYER, "2:16x16*64x32"),
    ],
    "mnist": [kfc(_LAYER, "12:16x20*50x25"), low_rank(_LAYER, 15)],
    "characters": [kfc(_LAYER, "8:36x32*64x32"), low_rank(_LAYER, 32)],
}
_DECAYS = {
    "svhn": (1e-4, 1e-2, 0.1, 0.3, 1.0),
    "mnist": (0.1, 0.3, 1.0, 1e-4),
    "characters": (0.1, 0.3, 1.0, 1e-4),
    "taught": (1e-4, 0.1, 0.3, 1.0),
}
_DROPOUTS = {"svhn": (0.25, 0.5)}


def sweep(variant: str) -> Iterator[Overrides]:
    """Yields the trials, one setting after the other."""
    decays = [{"optimizer.weight_decay": decay} for decay in _DECAYS[variant]]
    if variant == "taught":
        tuning = list(tuning_taught.sweep("regularised"))
        at = {"optimizer.learning_rate": 8e-3, "optimizer.factor_gain": 0.25}
        yield from (t | decay for decay in decays for t in tuning if t.items() >= at.items())
        return
    dropouts = [{"model.dropout": dropout} for dropout in _DROPOUTS.get(variant, ())]
    dense = dense_trial_for_tuning(variant)
    trials = [dense, *(in_place_of_dense(variant, dense, layer) for layer in _LAYERS[variant])]
    if variant == "mnist":
        trials.append(dense | {"optimizer.learning_rate": 2 * dense["optimizer.learning_rate"]})
    yield from product([*decays, *dropouts], trials)
