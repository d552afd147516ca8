"""Compressed models by where they started: from scratch, or from a trained dense model."""

from __future__ import annotations

import pandas as pd

from experiments.reporting.compare.groups import Comparison
from experiments.reporting.trials import STARTS


def started_groups(comparison: Comparison, split: str) -> pd.DataFrame:
    """Returns all groups of the structures that were decomposed by some run, start by start.

    Of each start they are at all their settings, not at the best ones. They are in the order of the
    comparison's groups, then of STARTS. There are none if nothing was decomposed.
    """
    groups = comparison.on(split)
    groups = groups[groups.structure.isin(groups.structure[groups.before.notna()])]
    order = {structure: place for place, structure in enumerate(groups.structure.unique())}
    return groups.assign(
        order=groups.structure.map(order), start_order=groups.start.map(STARTS.index)
    ).sort_values(["order", "start_order"])
