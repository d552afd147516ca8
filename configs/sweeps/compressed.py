"""Trained dense models made small: decomposed, with and without data, and fine-tuned.

Two sweeps, the dense models and what is made of them, which looks for them in `runs/NETWORK-dense`:

    ... --config=configs/sweeps/compressed.py:mnist_dense --workdir=runs/mnist-dense
    ... --config=configs/sweeps/compressed.py:mnist --workdir=runs/mnist-small

after `python -m experiments.sweep`. `fc1` becomes a Kronecker sum (three structures) or low rank
(three ranks), by the least error of its kernel, of its outputs on the training images, or of those
with the hidden units reordered; and the model is trained for a third of the dense one's epochs.
3 seeds, each from the dense model of its seed; all training images; the test split is read before
and after the fine-tuning.

    ...:mnist_dense, :mnist    LeNet-5, 6 epochs and 2
    ...:svhn_dense, :svhn      the small network, 12 epochs and 4, on svhn_grey, a prepared subset
                               of the real house numbers that is looked for in TFDS_DATA_DIR
    ...:NETWORK_tune           learning rates of the fine-tuning, on validation images
    ...:NETWORK_distilled      weighted by data, and taught by the dense model while fine-tuned
"""

from collections.abc import Iterator
from typing import NamedTuple

from experiments.sweeping import (
    Overrides,
    dense,
    kfc,
    low_rank,
    product,
    trial_folder,
    values,
)

_LAYER = "model.fc1"


class _Network(NamedTuple):
    base: str
    data: str
    dense_rate: float
    epochs: int
    num_validation: int  # of the tuning
    layers: list[Overrides]
    tuned_layers: list[Overrides]
    rates: tuple[float, ...]
    fine_tuning: dict[str, float]  # the best rate for every kind of layer, of the tuning


_NETWORKS = {
    "mnist": _Network(
        base="configs/mnist.py",
        data="mnist",
        dense_rate=2e-3,
        epochs=6,
        num_validation=10_000,
        layers=[
            kfc(_LAYER, "1:16x20*50x25"),
            kfc(_LAYER, "2:16x20*50x25"),
            kfc(_LAYER, "12:16x20*50x25"),
            *(low_rank(_LAYER, rank) for rank in (3, 5, 15)),
        ],
        tuned_layers=[kfc(_LAYER, "2:16x20*50x25"), low_rank(_LAYER, 5)],
        rates=(1e-3, 2e-3, 4e-3, 8e-3),
        fine_tuning={"kfc": 4e-3, "low_rank": 8e-3},
    ),
    "svhn": _Network(
        base="configs/svhn.py:small",
        data="svhn_grey",
        dense_rate=1.6e-2,
        epochs=12,
        num_validation=4_000,
        layers=[
            kfc(_LAYER, "1:32x16*32x32"),
            kfc(_LAYER, "2:16x16*64x32"),
            kfc(_LAYER, "8:16x16*64x32"),
            *(low_rank(_LAYER, rank) for rank in (1, 3, 12)),
        ],
        tuned_layers=[kfc(_LAYER, "2:16x16*64x32"), low_rank(_LAYER, 3)],
        rates=(2e-3, 4e-3, 8e-3, 1.6e-2),
        fine_tuning={"kfc": 8e-3, "low_rank": 8e-3},
    ),
}

_WAYS = {
    kind: [
        {"compression.weighted": weighted, "compression.reordered": reordered}
        for weighted, reordered in ways
    ]
    for kind, ways in {
        "kfc": ((False, False), (True, False), (True, True)),
        "low_rank": ((False, False), (True, False)),  # to which the order makes no difference
    }.items()
}

BASE = {
    f"{name}{part}": network.base
    for name, network in _NETWORKS.items()
    for part in ("", "_dense", "_tune", "_distilled")
}


def sweep(variant: str) -> Iterator[Overrides]:
    """Yields the trials, all with the first seed, then with the next."""
    name, _, part = variant.partition("_")
    network = _NETWORKS[name]
    if part == "dense":
        yield from (dense_trial(name, seed) for seed in range(3))
        yield _for_tuning(name)
        return
    third = {
        "train.num_epochs": network.epochs // 3,
        "optimizer.warmup_epochs": 0.33,
        "optimizer.factor_gain": 0.25,
    }
    if part == "tune":
        start = _from(name, _for_tuning(name)) | third | {"train.test_at_end": False}
        rates = values("optimizer.learning_rate", *network.rates)
        yield from product([start], rates, network.tuned_layers)
        return
    for seed in range(3):
        start = _from(name, dense_trial(name, seed)) | third
        if part == "distilled":
            start["distillation.teacher"] = start["compression.source"]
        for layer in network.layers:
            kind = layer[f"{_LAYER}.kind"]
            rate = {"optimizer.learning_rate": network.fine_tuning[kind]}
            for how in _WAYS[kind][-1:] if part else _WAYS[kind]:
                yield start | layer | rate | how


def dense_trial(name: str, seed: int) -> Overrides:
    """Returns the trial of a network's dense sweep with that seed, trained on all images."""
    network = _NETWORKS[name]
    return dense(_LAYER) | {
        "data.name": network.data,
        "data.num_validation": 0,
        "optimizer.learning_rate": network.dense_rate,
        "train.num_epochs": network.epochs,
        "seed": seed,
    }


def _for_tuning(name: str) -> Overrides:
    """Returns the dense trial that has not seen the images which the tuning validates on."""
    return dense_trial(name, 0) | {
        "data.num_validation": _NETWORKS[name].num_validation,
        "train.test_at_end": False,
    }


def _from(name: str, source: Overrides) -> Overrides:
    """Returns the fields of runs that start from a dense trial."""
    return {
        "compression.source": trial_folder(f"runs/{name}-dense", source),
        **{field: source[field] for field in ("data.name", "data.num_validation", "seed")},
    }
