r"""The dense models, from which most other sweeps of this folder start.

    python -m experiments.sweep --config=configs/sweeps/comparison/dense.py:NETWORK \
        --workdir=runs/NETWORK-dense

3 seeds on all training images. For a network whose fine-tuning is tuned there is one more, which
has not seen the images that the tuning validates on.
"""

from collections.abc import Iterator

from configs.sweeps.comparison.networks import LAYER, NETWORKS, SEEDS
from experiments.sweeping import Overrides, dense

BASE = {name: network.base for name, network in NETWORKS.items()}


def sweep(network: str) -> Iterator[Overrides]:
    """Yields the trials, the one for the tuning last."""
    yield from (dense_trial(network, seed) for seed in SEEDS)
    if NETWORKS[network].tuned:
        yield dense_trial_for_tuning(network)


def dense_trial(network: str, seed: int) -> Overrides:
    """Returns the trial of the dense model with that seed, trained on all images."""
    its = NETWORKS[network]
    return (
        dense(LAYER)
        | its.fields
        | {
            "data.num_validation": 0,
            "optimizer.learning_rate": its.dense_rate,
            "train.num_epochs": its.epochs,
            "seed": seed,
        }
    )


def dense_trial_for_tuning(network: str) -> Overrides:
    """Returns the trial of the dense model that has not seen the images for validation."""
    return dense_trial(network, 0) | {
        "data.num_validation": NETWORKS[network].num_validation,
        "train.test_at_end": False,
    }
