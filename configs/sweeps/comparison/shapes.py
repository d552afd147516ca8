r"""Structures of about one size (balanced, three factors, mixed), decomposed and taught.

    python -m experiments.sweep --config=configs/sweeps/comparison/shapes.py:NETWORK \
        --workdir=runs/NETWORK-shapes

As `taught.py`, with the layers `shapes` of the network.
"""

from collections.abc import Iterator

from configs.sweeps.comparison.networks import NETWORKS
from configs.sweeps.comparison.taught import taught_trials
from experiments.sweeping import Overrides

BASE = {name: network.base for name, network in NETWORKS.items() if network.shapes}


def sweep(network: str) -> Iterator[Overrides]:
    """Yields the trials: all structures with the first seed, then with the next."""
    return taught_trials(network, NETWORKS[network].shapes)
