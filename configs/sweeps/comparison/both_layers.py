r"""The classifier small, alone and together with `fc1`, decomposed and taught.

    python -m experiments.sweep --config=configs/sweeps/comparison/both_layers.py:NETWORK \
        --workdir=runs/NETWORK-layers

As `taught.py`, with the layers `both_layers` of the network.
"""

from collections.abc import Iterator

from configs.sweeps.comparison.networks import NETWORKS
from configs.sweeps.comparison.taught import taught_trials
from experiments.sweeping import Overrides

BASE = {name: network.base for name, network in NETWORKS.items() if network.both_layers}


def sweep(network: str) -> Iterator[Overrides]:
    """Yields the trials: all pairs of layers with the first seed, then with the next."""
    return taught_trials(network, NETWORKS[network].both_layers)
