r"""Small layers from scratch, trained for as long as the dense model.

    python -m experiments.sweep --config=configs/sweeps/comparison/from_scratch.py:NETWORK \
        --workdir=runs/NETWORK-scratch

The layers are `from_scratch` and then `shapes` of the network, at its `settings_from_scratch`.
"""

from collections.abc import Iterator

from configs.sweeps.comparison.dense import dense_trial
from configs.sweeps.comparison.networks import NETWORKS, SEEDS, kind_of
from experiments.sweeping import Overrides

BASE = {name: network.base for name, network in NETWORKS.items() if network.from_scratch}


def sweep(network: str) -> Iterator[Overrides]:
    """Yields the trials: all layers with the first seed, then with the next."""
    its = NETWORKS[network]
    for seed in SEEDS:
        for layer in (*its.from_scratch, *its.shapes):
            yield in_place_of_dense(network, dense_trial(network, seed), layer)


def in_place_of_dense(network: str, trial: Overrides, layer: Overrides) -> Overrides:
    """Returns a dense trial with another layer, at the settings of its kind from scratch."""
    return trial | layer | NETWORKS[network].settings_from_scratch[kind_of(layer)]
