"""The arrays of any tree of parameters by their paths."""

from __future__ import annotations

from typing import Any

import jax


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a tree by their paths, `block/fc1/kernel`, in JAX's order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {path_of(keys): leaf for keys, leaf in leaves}


def path_of(keys: tuple[Any, ...]) -> str:
    """Returns the text of a path of keys of a tree."""
    return jax.tree_util.keystr(keys, simple=True, separator="/")
