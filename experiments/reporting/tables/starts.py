"""The table of starts: errors before and after training, from each way to begin."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.reporting.compare.groups import Comparison
from experiments.reporting.compare.starts import StartedGroup
from experiments.reporting.tables.cell_table import CellTable
from experiments.reporting.wording import count, spread

_HEAD = (
    "method",
    "structure",
    "start",
    "parameters of the layers",
    "total parameters",
    "epochs",
    "relative error of outputs",
    "error before training",
    "error",
    "above dense",
)


def start_table(comparison: Comparison, split: str, started: Sequence[StartedGroup]) -> CellTable:
    """Returns the table of the groups, with their errors before and after training.

    They are compared with the dense model of their trunk, which is shown where there are several.
    """
    baselines = comparison.dense_by_trunk(split)
    has_trunks = len({one.group.trunk for one in started}) > 1
    rows = []
    for one in started:
        error, sizes = one.group.error(split), one.group.sizes
        outputs = one.output_error
        epochs = one.group.trials[0].config.get("train.num_epochs", 0)
        dense = baselines.get(one.group.trunk)
        above = error.mean - dense.error(split).mean if dense else None
        rows.append(
            [
                (one.group.method.label, None),
                (one.group.structure, None),
                *([(one.group.trunk, None)] if has_trunks else []),
                (one.start, None),
                (count(sizes["layer_parameters"]), sizes["layer_parameters"]),
                (count(sizes["parameters"]), sizes["parameters"]),
                (str(epochs), epochs),
                (f"{outputs.mean:.3f}" if outputs else "", outputs and outputs.mean),
                (spread(one.before) if one.before else "", one.before and one.before.mean),
                (spread(error), error.mean),
                ("" if above is None else f"{above * 100:+.2f}", above),
            ]
        )
    head = (*_HEAD[:2], "trunk", *_HEAD[2:]) if has_trunks else _HEAD
    return CellTable("starts", "Starts", head, 3 + has_trunks, rows)
