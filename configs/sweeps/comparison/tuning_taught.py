r"""Learning rates of the fine-tuning with a teacher and gains of the factors, on validation images.

    python -m experiments.sweep --config=configs/sweeps/comparison/tuning_taught.py:NETWORK \
        --workdir=runs/NETWORK-tune-taught

As `tuning.py`, with the dense model as a teacher, and every rate with two gains.
"""

import itertools
from collections.abc import Iterator

from configs.sweeps.comparison.dense import dense_trial_for_tuning
from configs.sweeps.comparison.networks import NETWORKS, kind_of
from configs.sweeps.comparison.taught import start_from_teacher
from experiments.sweeping import Overrides, values

BASE = {name: network.base for name, network in NETWORKS.items() if network.tuned}


def sweep(network: str) -> Iterator[Overrides]:
    """Yields the trials, the lower gain first, of each the lowest learning rate first."""
    its = NETWORKS[network]
    start = start_from_teacher(network, dense_trial_for_tuning(network))
    start["train.test_at_end"] = False
    gains = values("optimizer.factor_gain", 0.25, 1.0)
    rates = values("optimizer.learning_rate", *its.rates)
    for gain, rate, layer in itertools.product(gains, rates, its.tuned):
        yield start | layer | its.settings_taught[kind_of(layer)] | gain | rate
