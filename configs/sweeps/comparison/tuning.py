r"""Learning rates of the fine-tuning, on validation images; the test split is not looked at.

    python -m experiments.sweep --config=configs/sweeps/comparison/tuning.py:NETWORK \
        --workdir=runs/NETWORK-tune

One seed. The dense model comes first (`dense.py`), the one that has not seen the images for
validation. The layers are `tuned` of the network, the learning rates `rates`; they start decomposed
by data and reordered, as every compression does that does not say otherwise.
"""

import itertools
from collections.abc import Iterator

from configs.sweeps.comparison.dense import dense_trial_for_tuning
from configs.sweeps.comparison.fine_tuned import start_from
from configs.sweeps.comparison.networks import NETWORKS, kind_of
from experiments.sweeping import Overrides, values

BASE = {name: network.base for name, network in NETWORKS.items() if network.tuned}


def sweep(network: str) -> Iterator[Overrides]:
    """Yields the trials, the lowest learning rate first."""
    its = NETWORKS[network]
    start = start_from(network, dense_trial_for_tuning(network)) | {"train.test_at_end": False}
    rates = values("optimizer.learning_rate", *its.rates)
    for rate, layer in itertools.product(rates, its.tuned):
        yield start | layer | its.settings_fine_tuned[kind_of(layer)] | rate
