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
    mnist-regularised
                 the same with the learning rate and weight decay that are best for each, 6 and 6
    svhn         the small network on svhn_grey, a prepared subset of the real house numbers that is
                 looked for in TFDS_DATA_DIR, 12 epochs and 4
    wide         the same with convolutions of 24, 48 and 96 channels
    regularised, wide-regularised
                 the small and the wide one, every layer with the weight decay that is best for it
    large        the large network on svhn_grey, likewise
    characters   the small network on hwdb195, a prepared subset of CASIA-HWDB, 4 epochs and 2
    characters-regularised
                 the same with the weight decay that is best for the dense one
    characters-drawn
                 the same on kanji_strokes/48-200, drawn on first use, 8 epochs
"""

import itertools
from collections.abc import Iterator

from configs.sweeps.networks import LAYER, NETWORKS
from experiments.sweeping import Overrides, dense, trial_folder, values

_WAYS = {
    kind: [
        {"compression.weighted": weighted, "compression.reordered": reordered}
        for weighted, reordered in ways
    ]
    for kind, ways in {
        "kfc": ((False, False), (True, False), (True, True)),
        "low_rank": ((False, False), (True, False)),  # to which the order makes no difference
        "dense": ((True, False),),  # nothing to decompose: fine-tuned likewise
    }.items()
}

BASE = {
    name + part: network.base
    for name, network in NETWORKS.items()
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
    network = NETWORKS[name]
    if part == "dense":
        yield from (dense_trial(name, seed) for seed in range(3))
        if network.tuned:
            yield for_tuning(name)
        return
    if part in ("tune", "tune_taught"):
        start = start_from(name, for_tuning(name)) | {"train.test_at_end": False}
        gains = values("optimizer.factor_gain", start.pop("optimizer.factor_gain"))
        settings = network.fine_tuning
        if part == "tune_taught":
            start["distillation.teacher"] = start["compression.source"]
            gains = values("optimizer.factor_gain", 0.25, 1.0)
            settings = network.taught or settings
        rates = values("optimizer.learning_rate", *network.rates)
        for gain, rate, layer in itertools.product(gains, rates, network.tuned):
            yield start | layer | settings[_kind(layer)] | gain | rate
        return
    for seed in range(3):
        if part == "scratch":
            for layer in (*network.from_scratch, *network.shapes):
                yield from_scratch(name, dense_trial(name, seed), layer)
            continue
        start = start_from(name, dense_trial(name, seed))
        settings = network.fine_tuning
        layers = network.fine_tuned
        if part:
            start["distillation.teacher"] = start["compression.source"]
            settings = network.taught or settings
            layers = {
                "distilled": network.layers,
                "shapes": network.shapes,
                "layers": network.both_layers,
            }[part]
        for layer in layers:
            kind = _kind(layer)
            for how in _WAYS[kind][-1:] if part else _WAYS[kind]:
                yield start | layer | settings[kind] | how


def dense_trial(name: str, seed: int) -> Overrides:
    """Returns the trial of a network's dense sweep with that seed, trained on all images."""
    network = NETWORKS[name]
    return (
        dense(LAYER)
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
        "data.num_validation": NETWORKS[name].num_validation,
        "train.test_at_end": False,
    }


def from_scratch(name: str, source: Overrides, layer: Overrides) -> Overrides:
    """Returns a dense trial with another layer, at the rate and gain of its kind from scratch."""
    return source | layer | NETWORKS[name].scratch[_kind(layer)]


def start_from(name: str, source: Overrides) -> Overrides:
    """Returns the fields of runs that start from a dense trial and are fine-tuned."""
    network = NETWORKS[name]
    return {
        "compression.source": trial_folder(f"runs/{name}-dense", source),
        **{field: source[field] for field in (*network.fields, "data.num_validation", "seed")},
        "train.num_epochs": network.fine_tuning_epochs,
        "optimizer.warmup_epochs": 0.33,
        "optimizer.factor_gain": 0.25,
    }


def _kind(layers: Overrides) -> str:
    return next(kind for kind in ("kfc", "low_rank", "dense") if kind in layers.values())
