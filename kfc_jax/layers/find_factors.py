"""Which parameters are factors, told by their names, and which belong together."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from kfc_jax.structures import (
    KroneckerStructure,
    KroneckerTerm,
    LayerStructure,
    kind_of_parameter,
)

_REMEDY = (
    "Hand over all the factors of a layer together: give the transform the parameters of the "
    "whole model, as scale_factor_updates(params=params) or add_decayed_weights(decay, "
    "params=params), or let it stand outside of what hides some of them, such as optax.masked or "
    "optax.multi_transform. If it is no layer of kfc_jax, leave it out with optax.masked."
)


class Factor(NamedTuple):
    """A factor: its path in the parameters, its array viewed as ``(..., rank, rows, columns)``.

    ``matrix`` is the shape of the matrices of the array as it is stored, its last two sides.
    """

    path: str
    array: Array | np.ndarray
    matrix: tuple[int, ...]


Layer = list[list[Factor]]  # terms of factors
Kind = type[LayerStructure]


def factors_by_layer(params: Any) -> list[Layer]:
    """Finds the factors in ``params`` by their names, and groups them by layer and term.

    Layers of which the tree has nothing but placeholders are left out.

    Raises:
      ValueError: if the tree has some of a layer's factors alone, or is one vector without names.
    """
    _check_names(params)
    found: dict[tuple[str, Kind], dict[str, Factor]] = {}
    hidden: dict[tuple[str, Kind], list[str]] = {}
    biases: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params, is_leaf=_is_placeholder):
        name = path_name(path)
        layer, last = _split(name)
        kind = _kind_of_factor(last)
        if kind is None:
            if not _is_placeholder(leaf):
                biases |= {layer: leaf} if last == "bias" else {}
        elif _is_placeholder(leaf):
            hidden.setdefault((layer, kind), []).append(last)
        else:
            found.setdefault((layer, kind), {})[last] = Factor(name, leaf, jnp.shape(leaf)[-2:])
    return [
        _terms(layer, kind, factors, hidden.get((layer, kind), []), biases.get(layer))
        for (layer, kind), factors in found.items()
    ]


def factor_paths(params: Any) -> list[str]:
    """Returns the paths of the factors that ``params`` has, whether or not layers are whole.

    Raises:
      ValueError: if the tree is one vector without names.
    """
    _check_names(params)
    names = (path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params))
    return [name for name in names if _kind_of_factor(_split(name)[1])]


def _check_names(params: Any) -> None:
    """Raises ValueError if the parameters are one vector, in which nothing has a name."""
    if jax.tree_util.all_leaves([params]) and len(jnp.shape(params)) == 1:
        raise ValueError(
            f"The parameters are one vector of {jnp.shape(params)[0]} numbers, in which no factor "
            "can be found by its name, as happens inside optax.flatten: let the transform stand "
            "outside of it, optax.chain(optax.flatten(optax.scale_by_adam()), "
            "kfc_jax.scale_factor_updates(), ...), where it sees the tree of parameters."
        )


def _terms(
    layer: str, kind: Kind, factors: Mapping[str, Factor], hidden: Sequence[str], bias: Any
) -> Layer:
    """Sorts a layer's factors into its terms.

    Raises:
      ValueError: if some are missing, or their shapes are not those of factors.
    """
    shapes = {name: jnp.shape(factor.array) for name, factor in factors.items()}
    which = f"layer '{layer}' ({kind.kind})"
    if hidden:
        raise ValueError(
            f"Of {which} the tree has the factors {shapes}, but only placeholders of "
            f"{sorted(hidden)}, on which the steps of the others depend. {_REMEDY}"
        )
    try:
        terms = [
            [factors[name]._replace(array=kind.as_factor(name, factors[name].array)) for name in t]
            for t in kind.terms_of(factors)
        ]
        are_factors = all(
            len({f.array.shape[:-2] for f in term}) == 1 and len(term[0].array.shape) >= 3
            for term in terms
        )
        if are_factors and issubclass(kind, KroneckerStructure):
            _check_sizes(terms, bias)
    except ValueError:
        are_factors = False
    if not are_factors:
        raise ValueError(
            f"The factors of {which} have the shapes {shapes}: they are not all there, or not of "
            f"shapes (rank, n_k, m_k) with one rank per term. {_REMEDY}"
        )
    return terms


def _check_sizes(terms: Layer, bias: Any) -> None:
    """Checks that the factors give a kernel, whose columns are no fewer than the bias is long.

    Names do not tell that a term's last factor is missing; sizes mostly do.

    Raises:
      ValueError: if they give none, such as more products than any kernel of that size needs.
    """
    leading = terms[0][0].array.shape[:-3]
    shaped = [
        KroneckerTerm(
            tuple((f.array.shape[-2], f.array.shape[-1]) for f in term), term[0].array.shape[-3]
        )
        for term in terms
    ]
    features = min(term.features for term in shaped)
    if bias is not None and jnp.shape(bias)[: len(leading)] == leading:
        features = max(features, math.prod(jnp.shape(bias)[len(leading) :]))
    KroneckerStructure(tuple(shaped), min(term.inputs for term in shaped), features)


def _is_placeholder(leaf: Any) -> bool:
    """Whether it stands in the place of a parameter that a tree does not show."""
    return leaf is None or isinstance(leaf, optax.MaskedNode)


def layer_of(factor: Factor) -> str:
    """Returns the path of the layer that a factor belongs to."""
    return _split(factor.path)[0]


def _kind_of_factor(name: str) -> Kind | None:
    """Returns the kind whose factor has this name; a kernel that is no product has none."""
    kind = kind_of_parameter(name)
    return kind if kind and kind.is_product else None


def kind_at(path: Sequence[Any]) -> Kind | None:
    """Returns the kind that stores the parameter at this path; None if it belongs to no kernel."""
    return kind_of_parameter(_split(path_name(path))[1])


def _split(name: str) -> tuple[str, str]:
    """Returns a layer's path, and the name of its parameter behind the last ``/`` or ``.``."""
    *layer, last = re.split(r"[/.](?=[^/.]*$)", name)
    return "".join(layer), last


def path_name(path: Sequence[Any]) -> str:
    """Joins the keys of a path; for a factor, up to its name.

    What follows the name belongs to a box (``nn.Partitioned``, ``nnx.Param``), which parameters
    may have and updates not. A key may be a path itself, as in flattened dictionaries.
    """
    keys = []
    for entry in path:
        key = next((getattr(entry, a) for a in ("key", "name", "idx") if hasattr(entry, a)), entry)
        keys += map(str, key) if isinstance(key, tuple) else [str(key)]
    ends = [i + 1 for i, key in enumerate(keys) if _kind_of_factor(_split(key)[1])]
    return "/".join(keys[: ends[-1]] if ends else keys)
