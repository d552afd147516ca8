"""Weight decay and dropout: how much each method wants.

    python -m experiments.sweep --config=configs/sweeps/regularisation.py --workdir=runs/decay

The small network on svhn_grey, a prepared subset of the real house numbers that is looked for in
TFDS_DATA_DIR: `fc1` dense, a Kronecker sum of two sizes and low rank, from scratch for 12 epochs at
the rates and gains of `comparison.py`. First the weight decay (without dropout), then the dropout.

    ...regularisation.py:taught   weight decay of the fine-tuning with a teacher; the dense model
                                  comes first (`comparison.py:regularised_dense`)

One seed; errors are of 4,000 validation images, the test split is not looked at.
"""

from collections.abc import Iterator

from configs.sweeps import comparison
from experiments.sweeping import Overrides, kfc, low_rank, product

BASE = {"": "configs/svhn.py:small", "taught": "configs/svhn.py:small"}

_LAYER = "model.fc1"
_LAYERS = [
    kfc(_LAYER, "8:16x16*64x32"),
    low_rank(_LAYER, 12),
    kfc(_LAYER, "2:16x16*64x32"),
]
_SETTINGS: list[Overrides] = [
    {"optimizer.weight_decay": decay, "model.dropout": dropout}
    for decay, dropout in (
        *((decay, 0.0) for decay in (1e-4, 1e-2, 0.1, 0.3, 1.0)),
        *((1e-4, dropout) for dropout in (0.25, 0.5)),
    )
]


def sweep(variant: str = "") -> Iterator[Overrides]:
    """Yields the trials, one setting after the other."""
    if variant == "taught":
        for decay in (1e-4, 0.1, 0.3, 1.0):
            for trial in comparison.sweep("regularised_tune_taught"):
                if trial["optimizer.factor_gain"] == 0.25:
                    yield trial | {"optimizer.weight_decay": decay}
        return
    dense = comparison.for_tuning("svhn")
    trials = [dense, *(comparison.from_scratch("svhn", dense, layer) for layer in _LAYERS)]
    yield from product(_SETTINGS, trials)
