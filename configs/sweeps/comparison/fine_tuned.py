r"""Small layers decomposed from the dense model and fine-tuned, from every start.

    python -m experiments.sweep --config=configs/sweeps/comparison/fine_tuned.py:NETWORK \
        --workdir=runs/NETWORK-fine-tuned

The dense models come first (`dense.py`). The layers are `fine_tuned` of the network; each starts
decomposed by its kernel, by data, and (a Kronecker sum) by data with hidden units reordered.
"""

from collections.abc import Iterator

from configs.sweeps.comparison.dense import dense_trial
from configs.sweeps.comparison.networks import NETWORKS, SEEDS, kind_of
from experiments.sweeping import Overrides, trial_folder

BASE = {name: network.base for name, network in NETWORKS.items() if network.fine_tuned}

BY_KERNEL = {"compression.weighted": False, "compression.reordered": False}
BY_DATA = {"compression.weighted": True, "compression.reordered": False}
BY_DATA_REORDERED = {"compression.weighted": True, "compression.reordered": True}

STARTS = {
    "kfc": (BY_KERNEL, BY_DATA, BY_DATA_REORDERED),
    "low_rank": (BY_KERNEL, BY_DATA),  # the order of the hidden units makes no difference to it
    "dense": (BY_DATA,),  # nothing to decompose: trained again likewise
}
"""The starts of every kind of layer, the best one last."""


def sweep(network: str) -> Iterator[Overrides]:
    """Yields the trials: all layers with the first seed, then with the next."""
    its = NETWORKS[network]
    for seed in SEEDS:
        start = start_from(network, dense_trial(network, seed))
        for layer in its.fine_tuned:
            kind = kind_of(layer)
            for how in STARTS[kind]:
                yield start | layer | its.settings_fine_tuned[kind] | how


def start_from(network: str, source: Overrides) -> Overrides:
    """Returns the fields of trials that start from a dense trial and are fine-tuned."""
    its = NETWORKS[network]
    return {
        "compression.source": trial_folder(f"runs/{network}-dense", source),
        **{field: source[field] for field in (*its.fields, "data.num_validation", "seed")},
        "train.num_epochs": its.fine_tuning_epochs,
        "optimizer.warmup_epochs": 0.33,
        "optimizer.factor_gain": 0.25,
    }
