"""Parameters as nested containers: reading them, and putting layers in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
from flax.core import FrozenDict
from flax.core.meta import AxisMetadata


def leaves_of_layers(
    tree: Any, keys: tuple[Any, ...] = ()
) -> Iterator[tuple[str, tuple[tuple[Any, ...], dict[str, Any]]]]:
    """Yields for every module with arrays its path, its keys and its arrays."""
    children = _children(tree)
    below = {key: value for key, value in children.items() if _is_node(value)}
    arrays = {}
    if isinstance(tree, Mapping):
        arrays = {k: v for k, v in children.items() if v is not None and k not in below}
    if arrays:
        yield "/".join(map(str, keys)), (keys, arrays)
    for key, value in below.items():
        yield from leaves_of_layers(value, (*keys, key))


def copy_tree(tree: Any) -> Any:
    """Returns a copy of the containers, each of its own type, with the same arrays."""
    if not _is_node(tree):
        return tree
    return _rebuilt(tree, {key: copy_tree(value) for key, value in _children(tree).items()})


def array_at(tree: Any, keys: Sequence[Any]) -> Any:
    """Returns the part of a tree under the keys."""
    for key in keys:
        tree = _children(tree)[key]
    return tree


def with_module(tree: Any, keys: Sequence[Any], module: Any) -> Any:
    """Returns a tree with a module put in its place; containers stay of their types."""
    if not keys:
        return FrozenDict(module) if isinstance(tree, FrozenDict) else module
    children = _children(tree)
    changed = {keys[0]: with_module(children[keys[0]], keys[1:], module)}
    return _rebuilt(tree, {**children, **changed})


def key_path(path: Sequence[Any]) -> tuple[Any, ...]:
    """Returns the keys of a path as JAX has it: of dictionaries, indices of lists, names."""
    return tuple(_key(entry) for entry in path)


def _key(entry: Any) -> Any:
    for name in ("key", "idx", "name"):
        if hasattr(entry, name):
            return getattr(entry, name)
    raise ValueError(f"A tree of parameters has the key {entry}: give nested dictionaries.")


def _is_node(value: Any) -> bool:
    """Says whether a value holds others; a box with an array is one array."""
    if isinstance(value, AxisMetadata) or value is None:
        return False
    return isinstance(value, Mapping) or not jax.tree_util.all_leaves([value])


def _children(tree: Any) -> dict[Any, Any]:
    """Returns what a container holds by its keys, in the container's order."""
    if isinstance(tree, Mapping):
        return dict(tree)
    one_level = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: x is not tree)[0]
    return {_key(path[0]): value for path, value in one_level if path}


def _rebuilt(tree: Any, children: dict[Any, Any]) -> Any:
    """Returns a container like another with other values under its keys."""
    if isinstance(tree, FrozenDict):
        return FrozenDict(children)  # with plain dictionaries inside, as Flax makes them
    if type(tree) is dict or jax.tree_util.all_leaves([tree]):
        return children
    one_level = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: x is not tree)
    return one_level[1].unflatten([children[_key(path[0])] for path, _ in one_level[0]])
