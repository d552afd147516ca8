"""House numbers: which structure of the large layer gives which error, at which size and rate.

    python -m experiments.sweep --config=configs/sweeps/svhn_ranks.py --workdir=runs/svhn-ranks

`fc1` of the small network (1,024 inputs, 512 features) is dense, a Kronecker sum (space x channels,
balanced, mixed shapes, three factors) or low rank, each with 3 seeds. Sizes are multiples of the
1,536 parameters of a low-rank layer of rank 1, so that methods are compared at equal sizes.

    ...svhn_ranks.py:large    the large network, 1,536 inputs and 512 features
    ...svhn_ranks.py:tune     learning rates and factor gains of each method, without the test split
    ...svhn_ranks.py:quick    9 of the layers with 3 seeds, on 6,000 digits, 4 epochs
"""

from collections.abc import Iterator
from typing import NamedTuple

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

BASE = {
    "": "configs/svhn.py:small",
    "large": "configs/svhn.py:large",
    "tune": "configs/svhn.py:small",
    "quick": "configs/svhn.py:small",
}

_LAYER = "model.fc1"


class _Shapes(NamedTuple):
    size: tuple[int, int]
    space_by_channels: str
    balanced: str


_SMALL = _Shapes((1_024, 512), "16x16*64x32", "32x16*32x32")
_LARGE = _Shapes((1_536, 512), "16x16*96x32", "48x16*32x32")


def sweep(variant: str = "") -> Iterator[Overrides]:
    """Yields the trials: all layers with the first seed, then with the next."""
    if variant == "tune":
        yield from _tuning()
    elif variant == "quick":
        small_data = product(values("data.name", "svhn_synthetic/6000"), [{"train.num_epochs": 4}])
        layers = _layers(_SMALL, ranks=(3, 12), three=(1,), space=(2, 8), mixed=(2,))
        yield from product(small_data, seeds(3), layers)
    else:
        layers = _layers(
            _LARGE if variant == "large" else _SMALL,
            ranks=(1, 2, 3, 4, 6, 8, 12, 18, 24, 36),
            three=(0.5, 1, 2),
            space=(1, 2, 3, 4, 6, 8, 12, 16, 24),
            mixed=(1, 2, 4, 8),
        )
        yield from product(seeds(3), layers)


def _layers(
    shapes: _Shapes,
    *,
    ranks: tuple[int, ...],
    three: tuple[float, ...],
    space: tuple[int, ...],
    mixed: tuple[int, ...],
) -> list[Overrides]:
    """Returns the layers.

    Args:
      shapes: of the network.
      ranks: of low rank, and of balanced structures, which have about the same sizes.
      three: sizes of sums of three factors, in units of low rank of rank 1.
      space: ranks of space x channels.
      mixed: ranks of both terms of a mixed structure.
    """
    sizes = [round(n * sum(shapes.size)) for n in three]
    structures = [
        *(f"{rank}:{shapes.balanced}" for rank in ranks),
        *structures_for(*shapes.size, sizes, num_factors=3, max_shapes=1),
        *(f"{rank}:{shapes.space_by_channels}" for rank in space),
        *(f"{rank}:{shapes.space_by_channels}+{rank}:{shapes.balanced}" for rank in mixed),
    ]
    return [
        dense(_LAYER),
        *(kfc(_LAYER, structure) for structure in structures),
        *(low_rank(_LAYER, rank) for rank in ranks),
    ]


def _tuning() -> Iterator[Overrides]:
    rates = values("optimizer.learning_rate", 2e-3, 4e-3, 8e-3, 1.6e-2)
    gains = values("optimizer.factor_gain", 0.0625, 0.25, 1.0, 4.0)
    unseen = values("train.test_at_end", False)
    compressed = [kfc(_LAYER, f"8:{_SMALL.space_by_channels}"), low_rank(_LAYER, 12)]
    yield from product(unseen, rates, [dense(_LAYER)])
    yield from product(unseen, rates, gains, compressed)
