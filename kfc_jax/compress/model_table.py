"""The arrays of a compressed model as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kfc_jax.compress.boxes import without_boxes
from kfc_jax.compress.parameter_trees import leaves_of_layers
from kfc_jax.text_table import text_table


def model_table(variables: Mapping[str, Any], structures: Mapping[str, str]) -> str:
    """Returns a table of all arrays, one line for each module of each collection.

    Args:
      variables: a model's variables, which may be described.
      structures: the structures of layers by their paths in ``params``.
    """
    rows, totals = [], []
    for collection, tree in without_boxes(variables)[0].items():
        total = 0
        for path, (_, arrays) in leaves_of_layers(tree):
            sizes = [math.prod(np.shape(array)) for array in arrays.values()]
            shapes = (
                f"{name}: {array.dtype}{list(np.shape(array))}"
                for name, array in sorted(arrays.items())
            )
            structure = structures.get(path, "") if collection == "params" else ""
            rows.append((collection, path, structure, ", ".join(shapes), f"{sum(sizes):,}"))
            total += sum(sizes)
        totals.append(f"{collection} {total:,}")
    head = ("collection", "module", "structure", "arrays", "entries")
    return "\n".join([*text_table(head, rows, text_columns=4), f"entries: {', '.join(totals)}"])
