"""The tasks whose claims need evidence, their methods, and where settings are searched.

To add a task, add an entry to `TASKS`. All its methods train from scratch, for the same epochs, on
the same images, and get `DRAWS` random settings from the same space: the same numbers for all, but
for a gain where a method has no factors that it belongs to.

    house-numbers   the small network on svhn_grey, a prepared subset that is looked for in
                    TFDS_DATA_DIR; Kronecker sums of two sizes, and what is as large as each
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
    beside_claims: Sequence[str] = ()

    def settings_of(self, method: str, drawn: Overrides) -> Overrides:
        """Returns what a method needs of some settings that were drawn."""
        has_factors = self.methods[method][f"{LAYER}.kind"] in ("kfc", "low_rank")
        return {field: value for field, value in drawn.items() if has_factors or field != _GAIN}


def _beside(network: str, text: str) -> dict[str, Overrides]:
    """Returns the controls of the size of a Kronecker sum, by name."""
    found = {}
    for name, control in controls_of(network, [kfc(LAYER, text)]):
        label = {"narrow": "narrow", "block_diagonal": "block diagonal"}.get(name)
        if label and label not in found:  # blocks of neighbours come first
            found[label] = control
    return found


def _of_house_numbers() -> dict[str, Overrides]:
    network, shape = "regularised", "16x16*64x32"
    small, large = (_beside(network, f"{rank}:{shape}") for rank in (2, 8))
    others = dict(controls_of(network, []))
    return {
        "dense": dense(LAYER),
        "KFC 2": kfc(LAYER, f"2:{shape}"),
        "low rank 3": low_rank(LAYER, 3),
        "none": others["none"],
        **{f"{name}, as KFC 2": control for name, control in small.items()},
        "KFC 8": kfc(LAYER, f"8:{shape}"),
        "low rank 12": low_rank(LAYER, 12),
        **{f"{name}, as KFC 8": control for name, control in large.items()},
        "frozen": others["frozen"],
    }


TASKS = {
    "house-numbers": Task(
        base="configs/svhn.py:small",
        fields={"data.name": "svhn_grey", "train.num_epochs": 12},
        num_validation=4_000,
        space={
            "optimizer.learning_rate": (4e-3, 4e-2),
            "optimizer.weight_decay": (0.01, 1.0),
            _GAIN: (1 / 32, 1 / 2),
            "train.label_smoothing": (0.005, 0.2),
        },
        methods=_of_house_numbers(),
        beside_claims=("frozen",),
    ),
}
