"""Learning rates of the network and gains of the factors: where each method is at its best.

    python -m experiments.sweep --config=configs/sweeps/learning_rates.py:svhn --workdir=runs/rates

`fc1` is dense, a Kronecker sum (three structures) or low rank (two ranks); every one at several
learning rates, the compressed ones without the factors' multipliers and with them at several
gains. One seed; errors are of validation images, the test split is not looked at.

    ...learning_rates.py:mnist       LeNet-5, 20,000 digits, 3 epochs
    ...learning_rates.py:svhn        the small network, 15,725 house numbers, 6 epochs: svhn_grey, a
                                     prepared subset of the real set, is looked for in TFDS_DATA_DIR
    ...learning_rates.py:svhn_drawn  the same on drawn house numbers
    ...learning_rates.py:large       the large network, dense, 12 epochs, with the weight decay that
                                     is best for the small one
    ...learning_rates.py:characters  the small network, 59,323 handwritten characters, 2 epochs:
                                     hwdb195, a prepared subset of CASIA-HWDB, likewise
    ...learning_rates.py:mnist_best, :svhn_best, :svhn_drawn_best
                                     every method at its best rate in the search (of the real house
                                     numbers), 3 other seeds
"""

from collections.abc import Iterator

from experiments.sweeping import Overrides, dense, kfc, low_rank, product, values

BASE = {
    "mnist": "configs/mnist.py",
    "mnist_best": "configs/mnist.py",
    "svhn": "configs/svhn.py:small",
    "svhn_best": "configs/svhn.py:small",
    "svhn_drawn": "configs/svhn.py:small",
    "svhn_drawn_best": "configs/svhn.py:small",
    "large": "configs/svhn.py:large",
    "characters": "configs/characters.py:small",
}

_LAYER = "model.fc1"
_LAYERS = {
    "mnist": [
        kfc(_LAYER, "2:16x20*50x25"),
        kfc(_LAYER, "12:16x20*50x25"),
        kfc(_LAYER, "2:8x10*10x5*10x10"),
        low_rank(_LAYER, 3),
        low_rank(_LAYER, 15),
    ],
    "svhn": [
        kfc(_LAYER, "2:16x16*64x32"),
        kfc(_LAYER, "8:16x16*64x32"),
        kfc(_LAYER, "1:16x16*64x32+1:32x16*32x32"),
        low_rank(_LAYER, 3),
        low_rank(_LAYER, 12),
    ],
    "large": [],
    "characters": [kfc(_LAYER, "8:36x32*64x32"), low_rank(_LAYER, 8)],
}
_RATES = {
    "mnist": (5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2),
    "svhn": (2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2),
    "large": (8e-3, 1.6e-2, 3.2e-2),
    "characters": (2e-3, 4e-3, 8e-3, 1.6e-2),
}
_GAINS = {"mnist": (0.25, 1.0), "svhn": (0.125, 0.25, 0.5, 1.0), "large": (), "characters": (0.25,)}
# Of the search: for every gain (None: no multipliers) the best rate of every layer, in their order.
_BEST = {
    "mnist": {
        None: (8e-3, 8e-3, 1.6e-2, 1.6e-2, 8e-3),
        0.25: (8e-3, 8e-3, 8e-3, 1.6e-2, 8e-3),
    },
    "svhn": {
        None: (8e-3, 8e-3, 1.6e-2, 1.6e-2, 1.6e-2),
        0.125: (1.6e-2, 1.6e-2, 1.6e-2, 3.2e-2, 3.2e-2),
        0.25: (8e-3, 8e-3, 8e-3, 3.2e-2, 1.6e-2),
    },
}
_BEST_DENSE = {"mnist": 8e-3, "svhn": 1.6e-2}
_TRAINING = {
    "mnist": {"data.num_validation": 40_000, "train.num_epochs": 3},
    "svhn": {"data.name": "svhn_grey", "data.num_validation": 4_000, "train.num_epochs": 6},
    "svhn_drawn": {
        "data.name": "svhn_synthetic",
        "data.num_validation": 4_000,
        "train.num_epochs": 6,
    },
    "large": {
        "data.name": "svhn_grey",
        "data.num_validation": 4_000,
        "optimizer.weight_decay": 0.1,
        "train.num_epochs": 12,
    },
    "characters": {
        "data.name": "hwdb195",
        "model.num_classes": 195,
        "data.num_validation": 8_000,
        "train.num_epochs": 2,
    },
}


def sweep(variant: str) -> Iterator[Overrides]:
    """Yields the trials, the lowest learning rate first."""
    training = variant.removesuffix("_best")
    network = training.partition("_")[0]
    always = _TRAINING[training] | {"train.test_at_end": False}
    if variant != training:
        yield from product([always], values("seed", 1, 2, 3), _best(network))
        return
    gains = [_gain(None), *map(_gain, _GAINS[network])]
    layers = [dense(_LAYER), *product(gains, _LAYERS[network])]
    yield from product([always], values("optimizer.learning_rate", *_RATES[network]), layers)


def _best(network: str) -> Iterator[Overrides]:
    yield dense(_LAYER) | {"optimizer.learning_rate": _BEST_DENSE[network]}
    for gain, rates in _BEST[network].items():
        for rate, layer in zip(rates, _LAYERS[network], strict=True):
            yield from product([_gain(gain)], [{"optimizer.learning_rate": rate}], [layer])


def _gain(gain: float | None) -> Overrides:
    """Returns the overrides of a gain of the factors; None switches the multipliers off."""
    return {"optimizer.scale_factors": False} if gain is None else {"optimizer.factor_gain": gain}
