r"""Controls: what `fc1` is worth at all, and what other layers of the same size reach in its place.

    python -m experiments.sweep --config=configs/sweeps/comparison/controls.py:NETWORK \
        --workdir=runs/NETWORK-controls

From scratch, as long as the dense model, beside the Kronecker sums among `from_scratch` of the
network (and `shapes`). First no `fc1`, and a dense one that stays at its random start. Then, for
every Kronecker sum: a dense `fc1` of so few features that the whole model has at most as many
parameters (the most features with which it does); and blocks on the diagonal, neighbours and
interleaved, as few as there can be with at most its parameters. Where no such layer is so small
(800 x 500 has at least 4,000), it is the one with the most blocks, larger than the Kronecker sum.

    controls.py:NETWORK_taught  The same beside the Kronecker sums among `taught`, with the dense
                                model as a teacher (`dense.py` comes first), and from scratch, as
                                most controls cannot start from it.
    controls.py:NETWORK_tuning  Learning rates and weight decays of those beside the first Kronecker
                                sum, on validation images; the test split is not looked at.

They train as the dense model does, but for what `settings_controls` of the network says.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from configs.sweeps.comparison.dense import dense_trial
from configs.sweeps.comparison.networks import LAYER, NETWORKS, SEEDS
from experiments.config import load_config
from experiments.sweeping import (
    Overrides,
    block_diagonal,
    dense,
    product,
    trial_folder,
    values,
)
from experiments.training import checked_config
from kfc_jax import KroneckerStructure
from kfc_jax.structures import BlockDiagonalStructure

_TAUGHT, _TUNING = "_taught", "_tuning"

BASE = {
    name + how: network.base
    for name, network in NETWORKS.items()
    for how, layers in (
        ("", network.from_scratch),
        (_TAUGHT, network.taught),
        (_TUNING, network.from_scratch),
    )
    if layers
}


class Size(NamedTuple):
    """The size of a network's `fc1`, and what reads it.

    Attributes:
      inputs: the features of the last convolutions.
      features: of the dense model's `fc1`.
      classes: the features of the classifier.
    """

    inputs: int
    features: int
    classes: int

    def narrow(self, parameters: int) -> int:
        """Returns the most features of a dense `fc1` in place of a small kernel.

        The whole model has no more parameters than with a kernel of `parameters` and all features.
        A feature costs its column of the kernel, its bias and its row of the classifier.
        """
        of_feature = 1 + self.classes
        return (parameters + self.features * of_feature) // (self.inputs + of_feature)

    def blocks(self, parameters: int) -> int:
        """Returns the fewest blocks of at most so many parameters, or the most there can be."""
        possible = BlockDiagonalStructure.possible_blocks(self.inputs, self.features)
        dense = self.inputs * self.features
        return next((count for count in possible if dense // count <= parameters), possible[-1])


def sweep(variant: str) -> Iterator[Overrides]:
    """Yields the trials: all controls with the first seed, then with the next."""
    network, _, how = variant.partition("_")
    its = NETWORKS[network]
    if f"_{how}" == _TUNING:
        yield from _tuning_trials(network)
        return
    layers = its.taught if how else (*its.from_scratch, *its.shapes)
    for seed in SEEDS:
        trial = dense_trial(network, seed)
        teacher = {"distillation.teacher": trial_folder(f"runs/{network}-dense", trial)}
        for name, control in controls_of(network, layers):
            own = its.settings_controls.get(name, {})
            yield trial | control | own | (teacher if how else {})


def _tuning_trials(network: str) -> Iterator[Overrides]:
    its = NETWORKS[network]
    trial = dense_trial(network, 0) | {
        "data.num_validation": its.num_validation,
        "train.test_at_end": False,
    }
    decays = dict.fromkeys(
        settings.get("optimizer.weight_decay", 1e-4)
        for settings in (
            its.fields,
            *(its.fields | own for own in its.settings_from_scratch.values()),
        )
    )
    settings = product(
        values("optimizer.learning_rate", *(its.dense_rate * factor for factor in (0.5, 1, 2))),
        values("optimizer.weight_decay", *decays),
    )
    for own in settings:
        for _, control in controls_of(network, its.from_scratch[:1]):
            yield trial | control | own


def controls_of(network: str, layers: Sequence[Overrides]) -> list[tuple[str, Overrides]]:
    """Returns the controls beside the Kronecker sums among the layers, each once, with their names.

    The names are those of `settings_controls`: `none`, `frozen`, `narrow`, `block_diagonal`.
    """
    size = size_of(network)
    sums = [layer[f"{LAYER}.structure"] for layer in layers if f"{LAYER}.structure" in layer]
    found = [
        ("none", {f"{LAYER}.kind": "none"}),
        ("frozen", dense(LAYER) | {f"{LAYER}.frozen": True}),
    ]
    for text in sums:
        structure = KroneckerStructure.parse(text).fit(size.inputs, size.features)
        width = size.narrow(structure.num_parameters)
        blocks = size.blocks(structure.num_parameters)
        found += [
            ("narrow", dense(LAYER) | {"model.hidden": width}),
            ("block_diagonal", block_diagonal(LAYER, f"blocks {blocks}")),
            ("block_diagonal", block_diagonal(LAYER, f"blocks {blocks} interleaved")),
        ]
    return [one for i, one in enumerate(found) if one not in found[:i]]


def size_of(network: str) -> Size:
    """Returns the size of a network's `fc1`, as its own model tells it."""
    its = NETWORKS[network]
    config = load_config(its.base)
    config.update_from_flattened_dict(its.fields | dense(LAYER))
    (fc1,) = (cost for cost in checked_config(config).costs if f"model.{cost.name}" == LAYER)
    features = config.model.hidden
    return Size(fc1.dense_parameters // features, features, config.model.num_classes)
