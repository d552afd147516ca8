"""Which parameters are factors, told by their names, and which belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from kfc_jax.structures import LayerStructure, kind_of_parameter


class Factor(NamedTuple):
    """A factor: its path in the parameters, its array viewed as ``(..., rank, rows, columns)``."""

    path: str
    array: Array | np.ndarray


Layer = list[list[Factor]]  # terms of factors


def factors_by_layer(params: Any) -> list[Layer]:
    """Finds the factors in ``params`` by their names, and groups them by layer and term."""
    found: dict[tuple[str, type[LayerStructure]], dict[str, Any]] = {}
    for path, array in jax.tree_util.tree_leaves_with_path(params):
        layer, _, last = path_name(path).rpartition("/")
        if kind := _kind_of_factor(last):
            found.setdefault((layer, kind), {})[last] = array
    return [_terms(layer, kind, arrays) for (layer, kind), arrays in found.items()]


def _terms(layer: str, kind: type[LayerStructure], arrays: Mapping[str, Any]) -> Layer:
    """Sorts a layer's factors into its terms.

    Raises:
      ValueError: if some are missing, or their shapes are not those of factors.
    """
    prefix = f"{layer}/" if layer else ""
    try:
        terms = [
            [Factor(prefix + name, kind.as_factor(name, arrays[name])) for name in term]
            for term in kind.terms_of(arrays)
        ]
        are_factors = all(
            len({f.array.shape[:-2] for f in term}) == 1 and len(term[0].array.shape) >= 3
            for term in terms
        )
    except ValueError:
        are_factors = False
    if not are_factors:
        shapes = {name: jnp.shape(array) for name, array in arrays.items()}
        raise ValueError(
            f"The factors of layer '{layer}' ({kind.kind}) have the shapes {shapes}: they are not "
            "all there, or not of shapes (rank, n_k, m_k) with one rank per term. Hand over all "
            "the factors of a layer together; if it is no layer of kfc_jax, leave it out with "
            "optax.masked."
        )
    return terms


def _kind_of_factor(name: str) -> type[LayerStructure] | None:
    """Returns the kind whose factor has this name; a kernel that is no product has none."""
    kind = kind_of_parameter(name)
    return kind if kind and kind.is_product else None


def path_name(path: Sequence[Any]) -> str:
    """Joins the keys of a path; for a factor, up to its name.

    What follows the name belongs to a box (``nn.Partitioned``, ``nnx.Param``), which parameters
    may have and updates not.
    """
    keys = [
        str(next((getattr(key, a) for a in ("key", "name", "idx") if hasattr(key, a)), key))
        for key in path
    ]
    ends = [i + 1 for i, key in enumerate(keys) if _kind_of_factor(key)]
    return "/".join(keys[: ends[-1]] if ends else keys)
