"""The networks of `comparison.py`, and what was found best for each: no sweep of its own.

Rates and gains are of `learning_rates.py` and of the tuning sweeps of `comparison.py`, weight
decays of `regularisation.py`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from experiments.sweeping import Overrides, dense, kfc, low_rank

LAYER = "model.fc1"
CLASSIFIER = "model.fc2"

Settings = dict[str, Overrides]
"""Learning rate and the like of every kind of compressed layer."""


class Network(NamedTuple):
    """A network, the layers that are tried in it, and how they are trained."""

    base: str
    fields: Overrides  # in which it differs from the base
    dense_rate: float
    epochs: int
    fine_tuning_epochs: int
    num_validation: int  # of the tuning
    layers: Sequence[Overrides]
    fine_tuning: Settings
    taught: Settings | None = None  # of the fine-tuning with a teacher, where it differs
    fine_tuned: Sequence[Overrides] = ()  # those of the layers to show every start of
    tuned: Sequence[Overrides] = ()
    rates: tuple[float, ...] = ()  # of the tuning
    from_scratch: Sequence[Overrides] = ()  # those that are trained from scratch, too
    scratch: Settings | None = None
    shapes: Sequence[Overrides] = ()  # of one size
    both_layers: Sequence[Overrides] = ()  # and the classifier alone


def _kfc(shape: str, *ranks: int) -> list[Overrides]:
    return [kfc(LAYER, f"{rank}:{shape}") for rank in ranks]


def _low_rank(*ranks: int) -> list[Overrides]:
    return [low_rank(LAYER, rank) for rank in ranks]


def _rates(kronecker: float, low_rank: float, **also: float) -> Settings:
    """Returns the settings with these learning rates, and other fields of the optimizer alike."""
    both = {f"optimizer.{field}": value for field, value in also.items()}
    return {
        "kfc": {"optimizer.learning_rate": kronecker, **both},
        "low_rank": {"optimizer.learning_rate": low_rank, **both},
    }


def _svhn_scratch(**also: float) -> Settings:  # docs/training.md
    settings = _rates(1.6e-2, 1.6e-2, **also)
    settings["kfc"]["optimizer.factor_gain"] = 0.125
    settings["low_rank"]["optimizer.factor_gain"] = 0.25
    return settings


NETWORKS = {
    "mnist": Network(
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
        fine_tuning=_rates(4e-3, 8e-3),
        scratch=_rates(4e-3, 4e-3, factor_gain=0.25),
    ),
    "mnist-regularised": Network(
        base="configs/mnist.py",
        fields={"data.name": "mnist", "optimizer.weight_decay": 0.1},
        dense_rate=4e-3,
        epochs=6,
        fine_tuning_epochs=6,
        num_validation=10_000,
        layers=[*_kfc("16x20*50x25", 7, 48), *_low_rank(15), dense(LAYER)],
        fine_tuning=_rates(4e-3, 4e-3, weight_decay=0.3)
        | {"dense": {"optimizer.learning_rate": 4e-3}},
        from_scratch=[*_kfc("16x20*50x25", 2, 12), *_low_rank(15)],
        scratch=_rates(4e-3, 4e-3, factor_gain=0.25, weight_decay=0.3),
    ),
    "svhn": Network(
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
            kfc(LAYER, "1:16x16*64x32+1:32x16*32x32"),
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
        fine_tuning=_rates(4e-3, 8e-3),
        taught=_rates(8e-3, 8e-3),
        scratch=_svhn_scratch(),
    ),
    "wide": Network(
        base="configs/svhn.py:small",
        fields={"data.name": "svhn_grey", "model.channels": ((24,), (48,), (96,))},
        dense_rate=1.6e-2,
        epochs=12,
        fine_tuning_epochs=4,
        num_validation=4_000,
        layers=[*_kfc("16x16*96x32", 1, 2, 4, 8, 16), *_low_rank(1, 3, 6, 12, 24)],
        fine_tuning=_rates(8e-3, 8e-3),
        from_scratch=[*_kfc("16x16*96x32", 4), *_low_rank(6)],
        scratch=_svhn_scratch(),
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
        layers=[*_kfc("16x16*96x32", 2, 8), *_low_rank(3, 12)],
        fine_tuning=_rates(8e-3, 8e-3, weight_decay=0.3),
        from_scratch=[*_kfc("16x16*96x32", 2, 8), *_low_rank(12)],
        scratch=_svhn_scratch(weight_decay=0.3),
    ),
    "large": Network(
        base="configs/svhn.py:large",
        fields={"data.name": "svhn_grey", "optimizer.weight_decay": 0.1},
        dense_rate=1.6e-2,
        epochs=12,
        fine_tuning_epochs=4,
        num_validation=4_000,
        layers=[*_kfc("16x16*96x32", 2, 8, 4, 1), *_low_rank(3, 13, 6), dense(LAYER)],
        fine_tuning=_rates(8e-3, 8e-3, weight_decay=0.3)
        | {"dense": {"optimizer.learning_rate": 8e-3}},
        from_scratch=[*_kfc("16x16*96x32", 2, 8), *_low_rank(13)],
        scratch=_svhn_scratch(weight_decay=0.3),
    ),
    "regularised": Network(
        base="configs/svhn.py:small",
        fields={"data.name": "svhn_grey", "optimizer.weight_decay": 0.1},  # regularisation.py
        dense_rate=1.6e-2,
        epochs=12,
        fine_tuning_epochs=4,
        num_validation=4_000,
        layers=[*_kfc("16x16*64x32", 8, 2, 4, 1, 16), *_low_rank(12, 3, 6, 24)],
        tuned=[*_kfc("16x16*64x32", 8, 2), *_low_rank(12)],
        rates=(2e-3, 4e-3, 8e-3, 1.6e-2),
        fine_tuning=_rates(8e-3, 8e-3, weight_decay=0.3),
        fine_tuned=[*_kfc("16x16*64x32", 8, 2), *_low_rank(12)],
        from_scratch=[*_kfc("16x16*64x32", 8, 2, 1, 4, 16), *_low_rank(12, 3, 6, 24)],
        scratch=_svhn_scratch(weight_decay=0.3),
        shapes=[
            kfc(LAYER, structure)
            for structure in (
                "3:32x16*32x32",  # balanced
                "13:16x16*8x8*8x4",  # three factors
                "1:16x16*64x32+1:64x32*16x16",  # mixed
                "1:16x16*64x32+6:16x16*8x8*8x4",
            )
        ],
        both_layers=[
            dense(LAYER) | kfc(CLASSIFIER, "16:16x5*32x2"),
            dense(LAYER) | low_rank(CLASSIFIER, 4),
            kfc(LAYER, "8:16x16*64x32") | kfc(CLASSIFIER, "16:16x5*32x2"),
            low_rank(LAYER, 12) | low_rank(CLASSIFIER, 4),
        ],
    ),
    "characters": Network(
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
        fine_tuning=_rates(4e-3, 8e-3),
        scratch=_rates(8e-3, 8e-3, factor_gain=0.25),
        # 3% of both layers' parameters, and which method suits which.
        both_layers=[
            kfc(LAYER, "8:36x32*64x32") | low_rank(CLASSIFIER, 48),
            kfc(LAYER, "8:36x32*64x32") | kfc(CLASSIFIER, "64:32x13*32x15"),
            low_rank(LAYER, 8) | low_rank(CLASSIFIER, 48),
            dense(LAYER) | kfc(CLASSIFIER, "64:32x13*32x15"),
            dense(LAYER) | low_rank(CLASSIFIER, 48),
        ],
    ),
    "characters-regularised": Network(
        base="configs/characters.py:small",
        fields={"data.name": "hwdb195", "model.num_classes": 195, "optimizer.weight_decay": 0.3},
        dense_rate=8e-3,
        epochs=4,
        fine_tuning_epochs=2,
        num_validation=8_000,
        layers=[*_kfc("36x32*64x32", 8, 2, 32), *_low_rank(32, 8), dense(LAYER)],
        from_scratch=[*_kfc("36x32*64x32", 8, 2, 32), *_low_rank(32, 8)],
        fine_tuned=[*_kfc("36x32*64x32", 8), *_low_rank(32)],
        tuned=[*_kfc("36x32*64x32", 8), *_low_rank(32)],
        rates=(1e-3, 2e-3, 4e-3, 8e-3),
        fine_tuning=_rates(2e-3, 4e-3) | {"dense": {"optimizer.learning_rate": 2e-3}},
        scratch=_rates(8e-3, 8e-3, factor_gain=0.25),
        both_layers=[
            kfc(LAYER, "8:36x32*64x32") | kfc(CLASSIFIER, "64:32x13*32x15"),
            kfc(LAYER, "8:36x32*64x32") | kfc(CLASSIFIER, "18:64x1*16x195"),
            low_rank(LAYER, 32) | low_rank(CLASSIFIER, 48),
            kfc(LAYER, "8:36x32*64x32") | low_rank(CLASSIFIER, 48),
            dense(LAYER) | kfc(CLASSIFIER, "64:32x13*32x15"),
            dense(LAYER) | kfc(CLASSIFIER, "18:64x1*16x195"),
            dense(LAYER) | low_rank(CLASSIFIER, 48),
        ],
    ),
    "characters-drawn": Network(
        base="configs/characters.py:small",
        fields={"data.name": "kanji_strokes/48-200", "optimizer.weight_decay": 0.3},
        dense_rate=8e-3,
        epochs=8,
        fine_tuning_epochs=4,
        num_validation=4_000,
        layers=[*_kfc("36x32*64x32", 8, 2, 32), *_low_rank(32, 8)],
        fine_tuning=_rates(8e-3, 8e-3),
        from_scratch=[*_kfc("36x32*64x32", 8, 2, 32), *_low_rank(32, 8)],
        scratch=_rates(8e-3, 8e-3, factor_gain=0.25),
    ),
}
