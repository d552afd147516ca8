"""Small models from every start: from scratch, and from a trained dense model.

The dense models of a network come first, one for each seed; all else looks for them in
`runs/NETWORK-dense`:

    ... --config=configs/sweeps/comparison.py:svhn_dense --workdir=runs/svhn-dense
    ... --config=configs/sweeps/comparison.py:svhn_distilled --workdir=runs/svhn-distilled

after `python -m experiments.sweep`. `fc1` (of characters the classifier, too) becomes a Kronecker
sum or low rank, in sizes from a thousandth to a fifth of the dense layer; 3 seeds, all training
images, the test split read before and after the training.

    ...:NETWORK_scratch     some of the layers from scratch, as long as the dense model
    ...:NETWORK             some of them decomposed (by kernel, by data, by data and reordered) and
                            fine-tuned for a third to a half of the epochs
    ...:NETWORK_distilled   by data and reordered, fine-tuned with the dense model as a teacher
    ...:NETWORK_shapes      the same, structures of one size
    ...:NETWORK_layers      the same, the classifier alone and both layers
    ...:NETWORK_tune        learning rates of the fine-tuning, on validation images
    ...:NETWORK_tune_taught the same with the teacher, and two gains of the factors

The networks:

    mnist        LeNet-5, 6 epochs and 2
    svhn         the small network on svhn_grey, a prepared subset of the real house numbers that is
                 looked for in TFDS_DATA_DIR, 12 epochs and 4
    wide         the same with convolutions of 24, 48 and 96 channels
    regularised  the small network, every layer with the weight decay that is best for it
    characters   the small network on hwdb195, a prepared subset of CASIA-HWDB, 4 epochs and 2
"""

from collections.abc import Iterator, Sequence
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
_CLASSIFIER = "model.fc2"


class _Network(NamedTuple):
    base: str
    fields: Overrides  # in which it differs from the base
    dense_rate: float
    epochs: int
    fine_tuning_epochs: int
    num_validation: int  # of the tuning
    layers: Sequence[Overrides]
    best_rates: dict[str, float]  # of the fine-tuning, for every kind of layer
    taught_rates: dict[str, float] | None = None  # of that with a teacher, where they differ
    taught: Overrides | None = None  # other fields of that
    fine_tuned: Sequence[Overrides] = ()  # those of the layers to show every start of
    tuned: Sequence[Overrides] = ()
    rates: tuple[float, ...] = ()
    from_scratch: Sequence[Overrides] = ()  # those that are trained from scratch, too
    scratch: dict[str, Overrides] | None = None  # rate and gain of every kind of layer from scratch
    shapes: Sequence[Overrides] = ()
    both_layers: Sequence[Overrides] = ()  # and the classifier alone


def _kfc(shape: str, *ranks: int) -> list[Overrides]:
    return [kfc(_LAYER, f"{rank}:{shape}") for rank in ranks]


def _low_rank(*ranks: int) -> list[Overrides]:
    return [low_rank(_LAYER, rank) for rank in ranks]


_SCRATCH: dict[str, Overrides] = {  # of house numbers: docs/training.md
    "kfc": {"optimizer.learning_rate": 1.6e-2, "optimizer.factor_gain": 0.125},
    "low_rank": {"optimizer.learning_rate": 1.6e-2, "optimizer.factor_gain": 0.25},
}
_NETWORKS = {
    "mnist": _Network(
        base="configs/mnist.py",
        fields={"data.name": "mnist"},
        dense_rate=2e-3,
        epochs=6,
        fine_tuning_epochs=2,
        num_validation=10_000,
        layers=[*_kfc("16x20*50x25", 1, 2, 12), *_low_rank(3, 5, 15)],
        fine_tuned=[*_kfc("16x20*50x25", 1, 2, 12), *_low_rank(3, 5, 15)],
        tuned=[*_kfc("16x20*50x25", 2, 12), *_low_rank(5)],
        rates=(1e-3, 2e-3, 4e-3, 8e-3),
        best_rates={"kfc": 4e-3, "low_rank": 8e-3},
    ),
    "svhn": _Network(
        base="configs/svhn.py:small",
        fields={"data.name": "svhn_grey"},
        dense_rate=1.6e-2,
        epochs=12,
        fine_tuning_epochs=4,
        num_validation=4_000,
        layers=[
            *_kfc("16x16*8x8*8x4", 1, 2, 4),  # the channels' factor split once more
            *_kfc("32x16*32x32", 1),
            *_kfc("16x16*64x32", 1, 2, 4, 8, 16, 32),
            kfc(_LAYER, "1:16x16*64x32+1:32x16*32x32"),
            *_low_rank(1, 2, 3, 6, 12, 24, 48),
        ],
        from_scratch=[
            *_kfc("16x16*64x32", 2, 8),
            *_low_rank(3, 12),
            *_kfc("32x16*32x32", 1),
            *_low_rank(1),
            *_kfc("16x16*64x32", 32),
            *_low_rank(48),
        ],
        fine_tuned=[*_kfc("16x16*64x32", 2, 8), *_low_rank(3, 12)],
        tuned=[*_kfc("16x16*64x32", 2, 8), *_low_rank(3, 12)],
        rates=(2e-3, 4e-3, 8e-3, 1.6e-2),
        best_rates={"kfc": 4e-3, "low_rank": 8e-3},
        taught_rates={"kfc": 8e-3, "low_rank": 8e-3},
        scratch=_SCRATCH,
    ),
    "wide": _Network(
        base="configs/svhn.py:small",
        fields={"data.name": "svhn_grey", "model.channels": ((24,), (48,), (96,))},
        dense_rate=1.6e-2,
        epochs=12,
        fine_tuning_epochs=4,
        num_validation=4_000,
        layers=[*_kfc("16x16*96x32", 1, 2, 4, 8, 16), *_low_rank(1, 3, 6, 12, 24)],
        best_rates={"kfc": 8e-3, "low_rank": 8e-3},
        from_scratch=[*_kfc("16x16*96x32", 4), *_low_rank(6)],
        scratch=_SCRATCH,
    ),
    "regularised": _Network(
        base="configs/svhn.py:small",
        fields={"data.name": "svhn_grey", "optimizer.weight_decay": 0.1},  # regularisation.py
        dense_rate=1.6e-2,
        epochs=12,
        fine_tuning_epochs=4,
        num_validation=4_000,
        layers=[*_kfc("16x16*64x32", 8, 2, 4, 1, 16), *_low_rank(12, 3, 6, 24)],
        tuned=[*_kfc("16x16*64x32", 8, 2), *_low_rank(12)],
        rates=(8e-3,),
        best_rates={"kfc": 8e-3, "low_rank": 8e-3},
        taught={"optimizer.weight_decay": 0.3},
        from_scratch=[*_kfc("16x16*64x32", 8, 2), *_low_rank(12, 3)],
        scratch={kind: best | {"optimizer.weight_decay": 0.3} for kind, best in _SCRATCH.items()},
        shapes=[
            kfc(_LAYER, structure)
            for structure in (
                "3:32x16*32x32",  # balanced
                "13:16x16*8x8*8x4",  # three factors
                "1:16x16*64x32+1:64x32*16x16",  # mixed
                "1:16x16*64x32+6:16x16*8x8*8x4",
            )
        ],
        both_layers=[
            dense(_LAYER) | kfc(_CLASSIFIER, "16:16x5*32x2"),
            dense(_LAYER) | low_rank(_CLASSIFIER, 4),
            kfc(_LAYER, "8:16x16*64x32") | kfc(_CLASSIFIER, "16:16x5*32x2"),
            low_rank(_LAYER, 12) | low_rank(_CLASSIFIER, 4),
        ],
    ),
    "characters": _Network(
        base="configs/characters.py:small",
        fields={"data.name": "hwdb195", "model.num_classes": 195},
        dense_rate=8e-3,
        epochs=4,
        fine_tuning_epochs=2,
        num_validation=8_000,
        layers=[*_kfc("36x32*64x32", 8, 32, 2), *_low_rank(8, 32, 2)],
        from_scratch=[*_kfc("36x32*64x32", 8), *_low_rank(8)],
        fine_tuned=[*_kfc("36x32*64x32", 8), *_low_rank(8)],
        tuned=[*_kfc("36x32*64x32", 8), *_low_rank(8)],
        rates=(2e-3, 4e-3, 8e-3),
        best_rates={"kfc": 4e-3, "low_rank": 8e-3},
        scratch={
            "kfc": {"optimizer.learning_rate": 4e-3, "optimizer.factor_gain": 0.25},
            "low_rank": {"optimizer.learning_rate": 4e-3, "optimizer.factor_gain": 0.25},
        },
        # 3% of both layers' parameters, and which method suits which.
        both_layers=[
            kfc(_LAYER, "8:36x32*64x32") | low_rank(_CLASSIFIER, 48),
            kfc(_LAYER, "8:36x32*64x32") | kfc(_CLASSIFIER, "64:32x13*32x15"),
            low_rank(_LAYER, 8) | low_rank(_CLASSIFIER, 48),
            dense(_LAYER) | kfc(_CLASSIFIER, "64:32x13*32x15"),
            dense(_LAYER) | low_rank(_CLASSIFIER, 48),
        ],
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
    name + part: network.base
    for name, network in _NETWORKS.items()
    for part, layers in {
        "_dense": network.layers,
        "_tune": network.tuned,
        "_tune_taught": network.tuned,
        "_scratch": network.from_scratch,
        "": network.fine_tuned,
        "_distilled": network.layers,
        "_shapes": network.shapes,
        "_layers": network.both_layers,
    }.items()
    if layers
}


def sweep(variant: str) -> Iterator[Overrides]:
    """Yields the trials, all with the first seed, then with the next."""
    name, _, part = variant.partition("_")
    network = _NETWORKS[name]
    if part == "dense":
        yield from (dense_trial(name, seed) for seed in range(3))
        if network.tuned:
            yield for_tuning(name)
        return
    if part in ("tune", "tune_taught"):
        start = start_from(name, for_tuning(name)) | {"train.test_at_end": False}
        gains = values("optimizer.factor_gain", start.pop("optimizer.factor_gain"))
        if part == "tune_taught":
            start["distillation.teacher"] = start["compression.source"]
            gains = values("optimizer.factor_gain", 0.25, 1.0)
        rates = values("optimizer.learning_rate", *network.rates)
        yield from product([start], gains, rates, network.tuned)
        return
    for seed in range(3):
        if part == "scratch":
            for layer in network.from_scratch:
                yield from_scratch(name, dense_trial(name, seed), layer)
            continue
        start = start_from(name, dense_trial(name, seed))
        rates = network.best_rates
        layers = network.fine_tuned
        if part:
            start |= {"distillation.teacher": start["compression.source"], **(network.taught or {})}
            rates = network.taught_rates or rates
            layers = {
                "distilled": network.layers,
                "shapes": network.shapes,
                "layers": network.both_layers,
            }[part]
        for layer in layers:
            kind = _kind(layer)
            rate = {"optimizer.learning_rate": rates[kind]}
            for how in _WAYS[kind][-1:] if part else _WAYS[kind]:
                yield start | layer | rate | how


def dense_trial(name: str, seed: int) -> Overrides:
    """Returns the trial of a network's dense sweep with that seed, trained on all images."""
    network = _NETWORKS[name]
    return (
        dense(_LAYER)
        | network.fields
        | {
            "data.num_validation": 0,
            "optimizer.learning_rate": network.dense_rate,
            "train.num_epochs": network.epochs,
            "seed": seed,
        }
    )


def for_tuning(name: str) -> Overrides:
    """Returns the dense trial that has not seen the images which a tuning validates on."""
    return dense_trial(name, 0) | {
        "data.num_validation": _NETWORKS[name].num_validation,
        "train.test_at_end": False,
    }


def from_scratch(name: str, source: Overrides, layer: Overrides) -> Overrides:
    """Returns a dense trial with another layer, at the rate and gain of its kind from scratch."""
    return source | layer | _NETWORKS[name].scratch[_kind(layer)]


def start_from(name: str, source: Overrides) -> Overrides:
    """Returns the fields of runs that start from a dense trial and are fine-tuned."""
    network = _NETWORKS[name]
    return {
        "compression.source": trial_folder(f"runs/{name}-dense", source),
        **{field: source[field] for field in (*network.fields, "data.num_validation", "seed")},
        "train.num_epochs": network.fine_tuning_epochs,
        "optimizer.warmup_epochs": 0.33,
        "optimizer.factor_gain": 0.25,
    }


def _kind(layers: Overrides) -> str:
    return "kfc" if "kfc" in layers.values() else "low_rank"
