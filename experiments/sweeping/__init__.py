"""What a sweep config (`configs/sweeps/*.py`) writes its trials with.

A sweep is many runs of `experiments.train` that differ in some fields of a base config. It is a
folder: `sweep.json` is the plan, and every trial has a folder of its own, the run's, with
`trial.json` (its state) and `log.txt` in it. `experiments.sweeping.running` runs it.

- `Overrides`: the fields in which a trial differs from the base config.
- `values`, `seeds`: overrides of one field.
- `product`: all combinations of overrides.
- `log_uniform`: random settings from a space.
- `dense`, `kfc`, `low_rank`, `block_diagonal`: overrides that say what a layer is made of.
- `structures_for`, `low_rank_for`: the structures, or ranks, of given sizes.
- `trial_folder`: the folder of another sweep's trial.
"""

from experiments.sweeping.layers import (
    block_diagonal,
    dense,
    kfc,
    low_rank,
    low_rank_for,
    structures_for,
)
from experiments.sweeping.overrides import Overrides, log_uniform, product, seeds, values
from experiments.sweeping.trials import trial_folder

__all__ = [
    "Overrides",
    "block_diagonal",
    "dense",
    "kfc",
    "log_uniform",
    "low_rank",
    "low_rank_for",
    "product",
    "seeds",
    "structures_for",
    "trial_folder",
    "values",
]
