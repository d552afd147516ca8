"""The networks of this folder's sweeps, and what was found best for each. No sweep of its own.

To add a network, add an entry to `NETWORKS`. A sweep has it as a variant once the field that is
named after the sweep's file lists layers: `from_scratch`, `fine_tuned`, `taught`, `shapes`,
`both_layers`; the two tuning files have it once `tuned` does.

    mnist             LeNet-5
    svhn              the small network on svhn_grey, a prepared subset of the real house numbers
                      that is looked for in TFDS_DATA_DIR
    wide              the same with convolutions of 24, 48 and 96 channels
    characters        the small network on hwdb195, a prepared subset of CASIA-HWDB, likewise

These have the default weight decay, 0.0001, everywhere. The following have the weight decay that is
best for each kind of layer, as far as it was searched:

    mnist-regularised, characters-regularised
                      of those above
    regularised, wide-regularised
                      of svhn and wide
    large             the large network on svhn_grey
    characters-drawn  the small network on kanji_strokes/48-200, drawn on first use

Learning rates and gains are of `learning_rates.py` and of the two tuning files, weight decays of
`regularisation.py`; docs/training.md has these searches.
"""

import dataclasses
from collections.abc import Sequence

from experiments.sweeping import Overrides, dense, kfc, low_rank

SEEDS = (0, 1, 2)
LAYER = "model.fc1"
CLASSIFIER = "model.fc2"

Settings = dict[str, Overrides]
"""Learning rate and the like for every kind of layer, such as `kfc`, `low_rank` and `dense`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """A network, how it is trained, and which layers are tried in it.

    Attributes:
      base: the base config.
      fields: in which all of its trials differ from the base.
      dense_rate: the learning rate of the dense model.
      epochs: of the dense model and of small ones from scratch.
      fine_tuning_epochs: of small ones that start from the dense model.
      num_validation: how many training images the tuning validates on.
      from_scratch, settings_from_scratch: layers for `from_scratch.py`, and at what they train.
      fine_tuned, settings_fine_tuned: the same for `fine_tuned.py`.
      taught, settings_taught: the same for `taught.py`.
      settings_controls: at what the controls of `controls.py` train, by their names there, where
        it is not as the dense model.
      shapes: structures of about one size for `shapes.py`.
      both_layers: pairs of `fc1` and the classifier for `both_layers.py`.
      tuned: layers for `tuning.py` and `tuning_taught.py`.
      rates: the learning rates that these two try.
    """

    base: str
    fields: Overrides
    dense_rate: float
    epochs: int
    fine_tuning_epochs: int
    num_validation: int
    from_scratch: Sequence[Overrides] = ()
    settings_from_scratch: Settings = dataclasses.field(default_factory=dict)
    fine_tuned: Sequence[Overrides] = ()
    settings_fine_tuned: Settings = dataclasses.field(default_factory=dict)
    taught: Sequence[Overrides] = ()
    settings_taught: Settings = dataclasses.field(default_factory=dict)
    settings_controls: Settings = dataclasses.field(default_factory=dict)
    shapes: Sequence[Overrides] = ()
    both_layers: Sequence[Overrides] = ()
    tuned: Sequence[Overrides] = ()
    rates: tuple[float, ...] = ()


def kind_of(layers: Overrides) -> str:
    """Returns the kind whose settings count: `dense` only if no layer is anything else."""
    return next(kind for kind in ("kfc", "low_rank", "dense") if kind in layers.values())


def _kfc(shape: str, *ranks: int) -> list[Overrides]:
    return [kfc(LAYER, f"{rank}:{shape}") for rank in ranks]


def _low_rank(*ranks: int) -> list[Overrides]:
    return [low_rank(LAYER, rank) for rank in ranks]


def _at(learning_rate: float, **also: float) -> Overrides:
    fields = {"learning_rate": learning_rate, **also}
    return {f"optimizer.{field}": value for field, value in fields.items()}


_DEFAULT_DECAY = {
    "mnist": Network(
        base="configs/mnist.py",
        fields={"data.name": "mnist"},
        dense_rate=2e-3,
        epochs=6,
        fine_tuning_epochs=2,
        num_validation=10_000,
        settings_from_scratch={
            "kfc": _at(4e-3, factor_gain=0.25),
            "low_rank": _at(4e-3, factor_gain=0.25),
        },
        fine_tuned=[*_kfc("16x20*50x25", 1, 2, 12), *_low_rank(3, 5, 15)],
        settings_fine_tuned={"kfc": _at(4e-3), "low_rank": _at(8e-3)},
        taught=[*_kfc("16x20*50x25", 1, 2, 12), *_low_rank(3, 5, 15)],
        settings_taught={"kfc": _at(4e-3), "low_rank": _at(8e-3)},
        tuned=[*_kfc("16x20*50x25", 2, 12), *_low_rank(5)],
        rates=(1e-3, 2e-3, 4e-3, 8e-3),
    ),
    "svhn": Network(
        base="configs/svhn.py:small",
        fields={"data.name": "svhn_grey"},
        dense_rate=1.6e-2,
        epochs=12,
        fine_tuning_epochs=4,
        num_validation=4_000,
        from_scratch=[
            *_kfc("16x16*64x32", 2, 8),
            *_low_rank(3, 12),
            *_kfc("32x16*32x32", 1),
            *_low_rank(1),
            *_kfc("16x16*64x32", 32),
            *_low_rank(48),
        ],
        settings_from_scratch={
            "kfc": _at(1.6e-2, factor_gain=0.125),
            "low_rank": _at(1.6e-2, factor_gain=0.25),
        },
        fine_tuned=[*_kfc("16x16*64x32", 2, 8), *_low_rank(3, 12)],
        settings_fine_tuned={"kfc": _at(4e-3), "low_rank": _at(8e-3)},
        taught=[
            *_kfc("16x16*8x8*8x4", 1, 2, 4),  # the channels' factor split once more
            *_kfc("32x16*32x32", 1),
            *_kfc("16x16*64x32", 1, 2, 4, 8, 16, 32),
            kfc(LAYER, "1:16x16*64x32+1:32x16*32x32"),
            *_low_rank(1, 2, 3, 6, 12, 24, 48),
        ],
        settings_taught={"kfc": _at(8e-3), "low_rank": _at(8e-3)},
        tuned=[*_kfc("16x16*64x32", 2, 8), *_low_rank(3, 12)],
        rates=(2e-3, 4e-3, 8e-3, 1.6e-2),
    ),
    "wide": Network(
        base="configs/svhn.py:small",
        fields={"data.name": "svhn_grey", "model.channels": ((24,), (48,), (96,))},
        dense_rate=1.6e-2,
        epochs=12,
        fine_tuning_epochs=4,
        num_validation=4_000,
        from_scratch=[*_kfc("16x16*96x32", 4), *_low_rank(6)],
        settings_from_scratch={
            "kfc": _at(1.6e-2, factor_gain=0.125),
            "low_rank": _at(1.6e-2, factor_gain=0.25),
        },
        taught=[*_kfc("16x16*96x32", 1, 2, 4, 8, 16), *_low_rank(1, 3, 6, 12, 24)],
        settings_taught={"kfc": _at(8e-3), "low_rank": _at(8e-3)},
    ),
    "characters": Network(
        base="configs/characters.py:small",
        fields={"data.name": "hwdb195", "model.num_classes": 195},
        dense_rate=8e-3,
        epochs=4,
        fine_tuning_epochs=2,
        num_validation=8_000,
        from_scratch=[*_kfc("36x32*64x32", 8), *_low_rank(8)],
        settings_from_scratch={
            "kfc": _at(8e-3, factor_gain=0.25),
            "low_rank": _at(8e-3, factor_gain=0.25),
        },
        fine_tuned=[*_kfc("36x32*64x32", 8), *_low_rank(8)],
        settings_fine_tuned={"kfc": _at(4e-3), "low_rank": _at(8e-3)},
        taught=[*_kfc("36x32*64x32", 8, 32, 2), *_low_rank(8, 32, 2)],
        settings_taught={"kfc": _at(4e-3), "low_rank": _at(8e-3)},
        # 3% of both layers' parameters, and which method suits which.
        both_layers=[
            kfc(LAYER, "8:36x32*64x32") | low_rank(CLASSIFIER, 48),
            kfc(LAYER, "8:36x32*64x32") | kfc(CLASSIFIER, "64:32x13*32x15"),
            low_rank(LAYER, 8) | low_rank(CLASSIFIER, 48),
            dense(LAYER) | kfc(CLASSIFIER, "64:32x13*32x15"),
            dense(LAYER) | low_rank(CLASSIFIER, 48),
        ],
        tuned=[*_kfc("36x32*64x32", 8), *_low_rank(8)],
        rates=(2e-3, 4e-3, 8e-3),
    ),
}

_OWN_DECAY = {
    "mnist-regularised": Network(
        base="configs/mnist.py",
        fields={"data.name": "mnist", "optimizer.weight_decay": 0.1},
        dense_rate=4e-3,
        epochs=6,
        fine_tuning_epochs=6,
        num_validation=10_000,
        from_scratch=[*_kfc("16x20*50x25", 2, 12), *_low_rank(15)],
        settings_from_scratch={
            "kfc": _at(4e-3, factor_gain=0.25, weight_decay=0.3),
            "low_rank": _at(4e-3, factor_gain=0.25, weight_decay=0.3),
        },
        taught=[*_kfc("16x20*50x25", 7, 48), *_low_rank(15), dense(LAYER)],
        settings_taught={
            "kfc": _at(4e-3, weight_decay=0.3),
            "low_rank": _at(4e-3, weight_decay=0.3),
            "dense": _at(4e-3),
        },
    ),
    "regularised": Network(
        base="configs/svhn.py:small",
        fields={"data.name": "svhn_grey", "optimizer.weight_decay": 0.1},
        dense_rate=1.6e-2,
        epochs=12,
        fine_tuning_epochs=4,
        num_validation=4_000,
        from_scratch=[*_kfc("16x16*64x32", 8, 2, 1, 4, 16), *_low_rank(12, 3, 6, 24)],
        settings_from_scratch={
            "kfc": _at(1.6e-2, factor_gain=0.125, weight_decay=0.3),
            "low_rank": _at(1.6e-2, factor_gain=0.25, weight_decay=0.3),
        },
        fine_tuned=[*_kfc("16x16*64x32", 8, 2), *_low_rank(12)],
        settings_fine_tuned={
            "kfc": _at(8e-3, weight_decay=0.3),
            "low_rank": _at(8e-3, weight_decay=0.3),
        },
        taught=[*_kfc("16x16*64x32", 8, 2, 4, 1, 16), *_low_rank(12, 3, 6, 24)],
        settings_taught={
            "kfc": _at(8e-3, weight_decay=0.3),
            "low_rank": _at(8e-3, weight_decay=0.3),
        },
        shapes=[
            kfc(LAYER, "3:32x16*32x32"),  # balanced
            kfc(LAYER, "13:16x16*8x8*8x4"),  # three factors
            kfc(LAYER, "1:16x16*64x32+1:64x32*16x16"),  # mixed
            kfc(LAYER, "1:16x16*64x32+6:16x16*8x8*8x4"),
        ],
        both_layers=[
            dense(LAYER) | kfc(CLASSIFIER, "16:16x5*32x2"),
            dense(LAYER) | low_rank(CLASSIFIER, 4),
            kfc(LAYER, "8:16x16*64x32") | kfc(CLASSIFIER, "16:16x5*32x2"),
            low_rank(LAYER, 12) | low_rank(CLASSIFIER, 4),
        ],
        tuned=[*_kfc("16x16*64x32", 8, 2), *_low_rank(12)],
        rates=(2e-3, 4e-3, 8e-3, 1.6e-2),
    ),
    "wide-regularised": Network(
        base="configs/svhn.py:small",
        fields={
            "data.name": "svhn_grey",
            "model.channels": ((24,), (48,), (96,)),
            "optimizer.weight_decay": 0.1,
        },
        dense_rate=1.6e-2,
        epochs=12,
        fine_tuning_epochs=4,
        num_validation=4_000,
        from_scratch=[*_kfc("16x16*96x32", 2, 8), *_low_rank(12)],
        settings_from_scratch={
            "kfc": _at(1.6e-2, factor_gain=0.125, weight_decay=0.3),
            "low_rank": _at(1.6e-2, factor_gain=0.25, weight_decay=0.3),
        },
        taught=[*_kfc("16x16*96x32", 2, 8), *_low_rank(3, 12)],
        settings_taught={
            "kfc": _at(8e-3, weight_decay=0.3),
            "low_rank": _at(8e-3, weight_decay=0.3),
        },
    ),
    "large": Network(
        base="configs/svhn.py:large",
        fields={"data.name": "svhn_grey", "optimizer.weight_decay": 0.1},
        dense_rate=1.6e-2,
        epochs=12,
        fine_tuning_epochs=4,
        num_validation=4_000,
        from_scratch=[*_kfc("16x16*96x32", 2, 8), *_low_rank(13)],
        settings_from_scratch={
            "kfc": _at(1.6e-2, factor_gain=0.125, weight_decay=0.3),
            "low_rank": _at(1.6e-2, factor_gain=0.25, weight_decay=0.3),
        },
        taught=[*_kfc("16x16*96x32", 2, 8, 4, 1), *_low_rank(3, 13, 6), dense(LAYER)],
        settings_taught={
            "kfc": _at(8e-3, weight_decay=0.3),
            "low_rank": _at(8e-3, weight_decay=0.3),
            "dense": _at(8e-3),
        },
    ),
    "characters-regularised": Network(
        base="configs/characters.py:small",
        fields={"data.name": "hwdb195", "model.num_classes": 195, "optimizer.weight_decay": 0.3},
        dense_rate=8e-3,
        epochs=4,
        fine_tuning_epochs=2,
        num_validation=8_000,
        from_scratch=[*_kfc("36x32*64x32", 8, 2, 32), *_low_rank(32, 8)],
        settings_from_scratch={
            "kfc": _at(8e-3, factor_gain=0.25),
            "low_rank": _at(8e-3, factor_gain=0.25),
        },
        fine_tuned=[*_kfc("36x32*64x32", 8), *_low_rank(32)],
        settings_fine_tuned={"kfc": _at(2e-3), "low_rank": _at(4e-3)},
        taught=[*_kfc("36x32*64x32", 8, 2, 32), *_low_rank(32, 8), dense(LAYER)],
        settings_taught={"kfc": _at(2e-3), "low_rank": _at(4e-3), "dense": _at(2e-3)},
        both_layers=[
            kfc(LAYER, "8:36x32*64x32") | kfc(CLASSIFIER, "64:32x13*32x15"),
            kfc(LAYER, "8:36x32*64x32") | kfc(CLASSIFIER, "18:64x1*16x195"),
            low_rank(LAYER, 32) | low_rank(CLASSIFIER, 48),
            kfc(LAYER, "8:36x32*64x32") | low_rank(CLASSIFIER, 48),
            dense(LAYER) | kfc(CLASSIFIER, "64:32x13*32x15"),
            dense(LAYER) | kfc(CLASSIFIER, "18:64x1*16x195"),
            dense(LAYER) | low_rank(CLASSIFIER, 48),
        ],
        tuned=[*_kfc("36x32*64x32", 8), *_low_rank(32)],
        rates=(1e-3, 2e-3, 4e-3, 8e-3),
    ),
    "characters-drawn": Network(
        base="configs/characters.py:small",
        fields={"data.name": "kanji_strokes/48-200", "optimizer.weight_decay": 0.3},
        dense_rate=8e-3,
        epochs=8,
        fine_tuning_epochs=4,
        num_validation=4_000,
        from_scratch=[*_kfc("36x32*64x32", 8, 2, 32), *_low_rank(32, 8)],
        settings_from_scratch={
            "kfc": _at(8e-3, factor_gain=0.25),
            "low_rank": _at(8e-3, factor_gain=0.25),
        },
        taught=[*_kfc("36x32*64x32", 8, 2, 32), *_low_rank(32, 8)],
        settings_taught={"kfc": _at(8e-3), "low_rank": _at(8e-3)},
    ),
}

NETWORKS = _DEFAULT_DECAY | _OWN_DECAY
