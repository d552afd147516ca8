"""Digests of arrays, by which a damaged one is told from what was saved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

Digests = dict[str, dict[str, Any]]
"""For each array's path its `shape`, its `dtype` and the `sha256` of its bytes."""


def digests_of(tree: Any) -> Digests:
    """Returns the digests of all arrays in a tree, by their paths (`params/fc1/kernel`)."""
    found = {}
    for name, leaf in named_leaves(tree).items():
        array = np.asarray(jax.device_get(leaf))
        sha256 = hashlib.sha256(array.tobytes()).hexdigest()
        found[name] = {"shape": list(array.shape), "dtype": str(array.dtype), "sha256": sha256}
    return found


def named_leaves(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a tree by their paths."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(p, simple=True, separator="/"): leaf for p, leaf in paths}


def digest_of_values(values: Any) -> str:
    """Returns the digest of plain values, as JSON has them."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def refuse_other_arrays(stored: Mapping[str, Any], like: Any) -> None:
    """Compares the arrays that were saved with those of a model.

    Args:
      stored: by path, what has a `shape`.
      like: a tree of arrays, abstract or not.

    Raises:
      ValueError: naming the first array that is missing, too many or of another shape.
    """
    found = {name: tuple(its["shape"]) for name, its in stored.items()}
    wanted = {name: tuple(leaf.shape) for name, leaf in named_leaves(like).items()}
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            raise ValueError(
                f"{name} is {found.get(name, 'missing')} in the checkpoint and "
                f"{wanted.get(name, 'missing')} in the model"
            )


def damaged_array(stored: Digests, tree: Any) -> str | None:
    """Returns the path of the first array that is not as it was saved, or None."""
    for name, its in digests_of(tree).items():
        if its != stored.get(name):
            return name
    return None
