"""The README's MNIST table: LeNet-5 with a dense, a Kronecker or a low-rank first layer.

    python -m experiments.sweep --config=configs/sweeps/mnist_results.py --workdir=runs/results

All 60,000 training digits, 6 epochs, 3 seeds, one learning rate for all. The layer has 800 inputs
(16 positions of 50 channels) and 500 features. `16x20*50x25` factors positions from channels;
`25x20*32x25` is the balanced shape, whose products have exactly the 1,300 parameters of a low-rank
layer of rank 1.
"""

from collections.abc import Iterator

from experiments.sweeping import Overrides, dense, kfc, low_rank, product, seeds, values

BASE = "configs/mnist.py"

_LAYER = "model.fc1"
_STRUCTURES = (
    "2:8x10*10x5*10x10",
    "1:25x20*32x25",
    "1:16x20*50x25",
    "1:16x20*50x25+1:25x20*32x25",
    "2:16x20*50x25",
    "4:16x20*50x25",
    "12:16x20*50x25",
)
_RANKS = (1, 3, 5, 15)


def sweep() -> Iterator[Overrides]:
    """Yields all layers with the first seed, then with the next."""
    layers = [
        dense(_LAYER),
        *(kfc(_LAYER, structure) for structure in _STRUCTURES),
        *(low_rank(_LAYER, rank) for rank in _RANKS),
    ]
    yield from product(seeds(3), values("data.num_validation", 0), layers)
