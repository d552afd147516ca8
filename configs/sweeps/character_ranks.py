"""Chinese characters: structures of the first layer, and of the classifier behind it.

    python -m experiments.sweep --config=configs/sweeps/character_ranks.py --workdir=runs/characters

In the small network `fc1` (2,304 inputs, 1,024 features) and the classifier `fc2` (200 classes) are
dense, Kronecker sums or low rank. First `fc1` alone is replaced, then both are. Sizes of `fc1` are
multiples of the 3,328 parameters of a low-rank layer of rank 1. Each with 3 seeds.

    ...character_ranks.py:quick    9 of the layers with 3 seeds, on 20 characters, 4 epochs
"""

from collections.abc import Iterator

from experiments.sweeping import (
    Overrides,
    dense,
    kfc,
    low_rank,
    product,
    seeds,
    structures_for,
    values,
)

BASE = {"": "configs/characters.py:small", "quick": "configs/characters.py:small"}

_FC1, _FC2 = "model.fc1", "model.fc2"
_SIZE = (2_304, 1_024)
_SPACE_BY_CHANNELS = "36x32*64x32"  # fc1 sees 36 positions of 64 channels
_BALANCED = "48x32*48x32"


def sweep(variant: str = "") -> Iterator[Overrides]:
    """Yields the trials: all layers with the first seed, then with the next."""
    if variant == "quick":
        yield from product(
            values("data.name", "kanji_strokes/48-20"),
            values("data.num_validation", 200),
            values("model.num_classes", 20),
            values("train.num_epochs", 4),
            seeds(3),
            _first_layer(ranks=(2, 8), three=(0.25,), space=(2, 8), mixed=(1,)),
        )
        return
    first = _first_layer(
        ranks=(1, 2, 4, 8, 16, 32), three=(0.25, 1), space=(1, 2, 4, 8, 16, 32), mixed=(1, 2, 4, 8)
    )
    yield from product(seeds(3), [*first, *_both_layers()])


def _first_layer(
    *,
    ranks: tuple[int, ...],
    three: tuple[float, ...],
    space: tuple[int, ...],
    mixed: tuple[int, ...],
) -> list[Overrides]:
    """Returns what `fc1` may be; the arguments are as in `svhn_ranks`."""
    sizes = [round(n * sum(_SIZE)) for n in three]
    structures = [
        *(f"{rank}:{_BALANCED}" for rank in ranks),
        *structures_for(*_SIZE, sizes, num_factors=3, max_shapes=1),
        *(f"{rank}:{_SPACE_BY_CHANNELS}" for rank in space),
        *(f"{rank}:{_SPACE_BY_CHANNELS}+{rank}:{_BALANCED}" for rank in mixed),
    ]
    return [
        dense(_FC1),
        *(kfc(_FC1, structure) for structure in structures),
        *(low_rank(_FC1, rank) for rank in ranks),
    ]


def _both_layers() -> Iterator[Overrides]:
    """Yields `fc1` and the classifier together, with 1 to 3% of their dense parameters."""
    for rank in (8, 16):
        for classifier in ("4:32x10*32x20", "16:32x10*32x20", "8:64x20*16x10"):
            yield kfc(_FC1, f"{rank}:{_SPACE_BY_CHANNELS}") | kfc(_FC2, classifier)
        for classifier_rank in (4, 12):
            yield low_rank(_FC1, rank) | low_rank(_FC2, classifier_rank)
