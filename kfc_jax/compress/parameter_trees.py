"""Parameters as nested dictionaries and lists: reading them, and putting layers in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def leaves_of_layers(
    tree: Any, keys: tuple[Any, ...] = ()
) -> Iterator[tuple[str, tuple[tuple[Any, ...], dict[str, Any]]]]:
    """Yields for every module with arrays its path, its keys and its arrays."""
    items = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
    below = {key: value for key, value in items if _is_node(value)}
    arrays = {}
    if isinstance(tree, Mapping):
        arrays = {k: v for k, v in tree.items() if v is not None and k not in below}
    if arrays:
        yield "/".join(map(str, keys)), (keys, arrays)
    for key, value in below.items():
        yield from leaves_of_layers(value, (*keys, key))


def _is_node(value: Any) -> bool:
    is_list = isinstance(value, list | tuple) and not hasattr(value, "_fields")
    return isinstance(value, Mapping) or is_list


def copy_tree(tree: Any) -> Any:
    """Returns a copy of the dictionaries and lists, with the same arrays."""
    if isinstance(tree, Mapping):
        return {key: copy_tree(value) for key, value in tree.items()}
    return [copy_tree(value) for value in tree] if _is_node(tree) else tree


def array_at(tree: Any, keys: Sequence[Any]) -> Any:
    """Returns the part of a tree under the keys."""
    for key in keys:
        tree = tree[key]
    return tree


def with_module(tree: Any, keys: Sequence[Any], module: Any) -> Any:
    """Returns a tree that `copy_tree` made with a module put in its place."""
    if not keys:
        return module
    array_at(tree, keys[:-1])[keys[-1]] = module
    return tree


def key_path(path: Sequence[Any]) -> tuple[Any, ...]:
    """Returns the keys of a path as JAX has it: of dictionaries, indices of lists, names."""
    return tuple(_key(entry) for entry in path)


def _key(entry: Any) -> Any:
    for name in ("key", "idx", "name"):
        if hasattr(entry, name):
            return getattr(entry, name)
    raise ValueError(f"A tree of parameters has the key {entry}: give nested dictionaries.")
