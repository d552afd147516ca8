r"""Small layers decomposed from the dense model and fine-tuned with that model as a teacher.

    python -m experiments.sweep --config=configs/sweeps/comparison/taught.py:NETWORK \
        --workdir=runs/NETWORK-taught

The dense models come first (`dense.py`). The layers are `taught` of the network; each starts
decomposed by data, with hidden units reordered. A dense one among them is trained again likewise.
"""

from collections.abc import Iterable, Iterator

from configs.sweeps.comparison.dense import dense_trial
from configs.sweeps.comparison.fine_tuned import STARTS, start_from
from configs.sweeps.comparison.networks import NETWORKS, SEEDS, kind_of
from experiments.sweeping import Overrides

BASE = {name: network.base for name, network in NETWORKS.items() if network.taught}


def sweep(network: str) -> Iterator[Overrides]:
    """Yields the trials: all layers with the first seed, then with the next."""
    return taught_trials(network, NETWORKS[network].taught)


def taught_trials(network: str, layers: Iterable[Overrides]) -> Iterator[Overrides]:
    """Yields trials with these layers, started from and taught by the dense model of their seed."""
    its = NETWORKS[network]
    for seed in SEEDS:
        start = start_from_teacher(network, dense_trial(network, seed))
        for layer in layers:
            kind = kind_of(layer)
            yield start | layer | its.settings_taught[kind] | STARTS[kind][-1]


def start_from_teacher(network: str, source: Overrides) -> Overrides:
    """Returns the fields of trials that start from a dense trial and are taught by it."""
    start = start_from(network, source)
    return start | {"distillation.teacher": start["compression.source"]}
