"""LeNet-5 on MNIST: which structure of its large layer gives which error, at which size.

    python -m experiments.sweep --config=configs/sweeps/mnist_ranks.py --workdir=runs/mnist-ranks

`fc1` (800 inputs, 500 features) is dense, a Kronecker sum (two factors, three, mixed shapes) or low
rank. Sizes are multiples of the 1,300 parameters of a low-rank layer of rank 1, so that methods are
compared at equal sizes; three factors go below. Each with 3 seeds.

    python -m experiments.sweep --config=configs/sweeps/mnist_ranks.py:quick --workdir=runs/quick

is the small variant: 12 of the layers with 2 seeds, on the embedded 5,000 digits, 8 epochs.
"""

from collections.abc import Iterator

from experiments.sweeping import (
    Overrides,
    dense,
    kfc,
    low_rank,
    low_rank_for,
    product,
    seeds,
    structures_for,
    values,
)

BASE = {"": "configs/mnist.py", "quick": "configs/quickstart.py"}

_LAYER = "model.fc1"
_SIZE = (800, 500)
_SPACE_BY_CHANNELS = "16x20*50x25"  # fc1 sees 16 positions of 50 channels


def sweep(variant: str = "") -> Iterator[Overrides]:
    """Yields the trials: all layers with the first seed, then with the next."""
    if variant == "quick":
        layers = _layers(budgets=(1_300, 5_200, 20_800), small=(650,), mixed=(1,), max_shapes=1)
        yield from product(values("train.num_epochs", 8), seeds(2), layers)
    else:
        budgets = (1_300, 2_600, 5_200, 10_400, 20_800)
        layers = _layers(budgets, small=(400, 650), mixed=(1, 2, 4), max_shapes=3)
        yield from product(seeds(3), layers)


def _layers(
    budgets: tuple[int, ...], small: tuple[int, ...], mixed: tuple[int, ...], max_shapes: int
) -> list[Overrides]:
    """Returns the layers at budgets of parameters; mixed ones by the rank of their two terms."""
    structures = [
        *structures_for(*_SIZE, budgets, max_shapes=max_shapes),
        *structures_for(*_SIZE, (*small, *budgets[:2]), num_factors=3, max_shapes=1),
        *(f"{rank}:{_SPACE_BY_CHANNELS}" for rank in (1, 3)),
        *(f"{rank}:{_SPACE_BY_CHANNELS}+{rank}:32x25*25x20" for rank in mixed),
    ]
    return [
        dense(_LAYER),
        *(kfc(_LAYER, structure) for structure in structures),
        *(low_rank(_LAYER, rank) for rank in low_rank_for(*_SIZE, budgets)),
    ]
