"""The tasks whose claims need evidence, their methods, and where settings are searched.

To add a task, add an entry to `TASKS`. All its methods train from scratch, for the same epochs, on
the same images, and get `DRAWS` random settings from the same space: the same numbers for all, but
for a gain where a method has no factors that it belongs to.

    house-numbers   the small network on svhn_grey, a prepared subset that is looked for in
                    TFDS_DATA_DIR; Kronecker sums of two sizes, and what is as large as each
    large           the larger network on the same images
    mnist           LeNet-5
    characters      the small network on hwdb195, a prepared subset that is looked for likewise
"""

import dataclasses
from collections.abc import Mapping, Sequence

from configs.sweeps.comparison.controls import controls_of
from configs.sweeps.comparison.networks import LAYER
from experiments.sweeping import Overrides, dense, kfc, low_rank

DRAWS = 24
SEEDS = tuple(range(10))
FEW_SEEDS = SEEDS[:3]
_GAIN = "optimizer.factor_gain"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """A data set and a network on which methods are compared.

    Attributes:
      base: the base config.
      fields: in which all trials differ from it.
      num_validation: training images that the search is judged on.
      space: the lowest and the highest value of every field that is searched.
      methods: what `fc1` is, by the method's name.
      beside_claims: methods that no claim is about.
    """

    base: str
    fields: Overrides
    num_validation: int
    space: Mapping[str, tuple[float, float]]
    methods: Mapping[str, Overrides]
    beside_claims: Sequence[str] = ("frozen",)

    def settings_of(self, method: str, drawn: Overrides) -> Overrides:
        """Returns what a method needs of some settings that were drawn."""
        has_factors = self.methods[method][f"{LAYER}.kind"] in ("kfc", "low_rank")
        return {field: value for field, value in drawn.items() if has_factors or field != _GAIN}


def _methods(network: str, shape: str, ranks: Mapping[int, int]) -> dict[str, Overrides]:
    """Returns all methods of a network by name.

    Args:
      network: of `configs.sweeps.comparison.networks`.
      shape: of the Kronecker products, without their number.
      ranks: for each number of products the lowest rank of low rank that is no smaller.
    """
    others = dict(controls_of(network, []))
    found = {"dense": dense(LAYER)}
    for products, rank in ranks.items():
        text = f"{products}:{shape}"
        found[f"KFC {products}"] = kfc(LAYER, text)
        found[f"low rank {rank}"] = low_rank(LAYER, rank)
        found.setdefault("none", others["none"])
        for name, control in controls_of(network, [kfc(LAYER, text)]):
            label = {"narrow": "narrow", "block_diagonal": "block diagonal"}.get(name)
            if label:  # of two kinds of blocks those of neighbours, which come first
                found.setdefault(f"{label}, as KFC {products}", control)
    return {**found, "frozen": others["frozen"]}


def _space(
    rates: tuple[float, float], decays: tuple[float, float] = (0.01, 1.0)
) -> dict[str, tuple[float, float]]:
    """Returns the space of a task with these learning rates and weight decays."""
    return {
        "optimizer.learning_rate": rates,
        "optimizer.weight_decay": decays,
        _GAIN: (1 / 32, 1 / 2),
        "train.label_smoothing": (0.005, 0.2),
    }


TASKS = {
    "house-numbers": Task(
        base="configs/svhn.py:small",
        fields={"data.name": "svhn_grey", "train.num_epochs": 12},
        num_validation=4_000,
        space=_space((4e-3, 4e-2)),
        methods=_methods("regularised", "16x16*64x32", {2: 3, 8: 12}),
    ),
    "large": Task(
        base="configs/svhn.py:large",
        fields={"data.name": "svhn_grey", "train.num_epochs": 12},
        num_validation=4_000,
        space=_space((4e-3, 4e-2)),
        methods=_methods("large", "16x16*96x32", {2: 4}),
    ),
    "mnist": Task(
        base="configs/mnist.py",
        fields={"data.name": "mnist", "train.num_epochs": 6},
        num_validation=10_000,
        space=_space((1e-3, 1e-2)),
        methods=_methods("mnist-regularised", "16x20*50x25", {7: 9}),
    ),
    "characters": Task(
        base="configs/characters.py:small",
        fields={"data.name": "hwdb195", "model.num_classes": 195, "train.num_epochs": 4},
        num_validation=8_000,
        space=_space((2e-3, 2e-2), decays=(0.03, 3.0)),
        methods=_methods("characters-regularised", "36x32*64x32", {8: 8}),
    ),
}
