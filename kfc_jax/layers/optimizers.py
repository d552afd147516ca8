"""Optax transforms with which factors train like the dense kernel they stand for.

Two lines of a chain differ from those for a dense network::

    optax.chain(
        optax.scale_by_adam(),
        kfc_jax.scale_factor_updates(),
        kfc_jax.add_decayed_weights(1e-4),
        optax.scale_by_learning_rate(schedule),
    )

Why these multipliers: ``kfc_jax.layers.update_rule``.

A factor's multiplier and its decay depend on the whole layer that it belongs to. A transform that
sees a part of the parameters, such as one of several in ``optax.multi_transform``, may see some
factors of a layer and not the others. It is then given the parameters of the whole model::

    trained = optax.chain(
        optax.scale_by_adam(),
        kfc_jax.scale_factor_updates(params=params),
        kfc_jax.add_decayed_weights(1e-4, params=params),
        optax.scale_by_learning_rate(schedule),
    )
    optax.multi_transform({"trained": trained, "frozen": optax.set_to_zero()}, labels)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from kfc_jax.layers.find_factors import factor_paths, factors_by_layer, kind_at, path_name
from kfc_jax.layers.update_rule import Update, check_rule, multipliers_by_path
from kfc_jax.structures import DenseStructure

DEFAULT_GAIN = 0.25
"""Gain of `scale_factor_updates`: with it, the best learning rate is about the dense network's."""


class ScaleFactorUpdatesState(NamedTuple):
    """State of ``scale_factor_updates``; it does not change after ``init``.

    Attributes:
      multipliers: for every factor, by its path in the parameters, its multiplier without the gain.
    """

    multipliers: dict[str, Float[Array, ""]]


def scale_factor_updates(
    gain: float = DEFAULT_GAIN,
    *,
    update: Update = "sign",
    params: optax.Params | None = None,
    tables: Collection[str] = (),
) -> optax.GradientTransformation:
    """Multiplies the updates of factors by ``factor_multipliers``, and leaves all others alone.

    It stands after the transform that makes the step (``optax.scale_by_adam()``) and before
    weight decay and learning rate. The multipliers are computed once, at ``init``, and are part of
    the state: a run that goes on from a checkpoint has the same ones.

    Args:
      gain: a number that all multipliers of factors are multiplied by: the factors' own learning
        rate, as a multiple of the rule, which is 1. With the default the best learning rate of the
        network is about the dense network's; where the network trains at a lower rate than its
        best, 1 is better. The state does not hold it, so it may change on the way.
      update: what the steps are like, see ``factor_multipliers``: ``sign`` (Adam, Lion),
        ``gradient`` (SGD), ``relative`` (LAMB, Adafactor) or ``orthogonal`` (Muon).
      params: the parameters of the whole model, from which the multipliers are then computed at
        once, and not at ``init``. Needed where the transform sees some factors of a layer and not
        the others: those that it sees have the multipliers that they have in the whole layer.
        Paths are those of the trees that the transform sees.
      tables: the paths of tables of embeddings, or patterns of them, see ``factor_multipliers``.

    Raises:
      ValueError: if ``gain`` or ``update`` is not as said, or ``params`` lacks some factors of a
        layer; at ``init``, if the tree does and there is no ``params``, if it has a factor that
        ``params`` has not, or if it is one vector (``optax.flatten``), in which nothing has a name;
        at ``update``, if the updates lack factors that ``init`` saw. Not every such tree can be
        told: without placeholders (``optax.MaskedNode``), one of two whole terms looks like a layer
        of one.
    """
    check_rule(gain, update, tables)
    of_model = None if params is None else multipliers_by_path(params, update, tables)

    def init(params: optax.Params) -> ScaleFactorUpdatesState:
        if of_model is None:
            return ScaleFactorUpdatesState(multipliers_by_path(params, update, tables))
        return ScaleFactorUpdatesState(_of_factors(params, of_model))

    def apply(
        updates: optax.Updates, state: ScaleFactorUpdatesState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, ScaleFactorUpdatesState]:
        del params
        remaining = dict(state.multipliers)

        def scale(path: Any, leaf: Array | np.ndarray) -> Array | np.ndarray:
            multiplier = remaining.pop(path_name(path), None)
            return leaf if multiplier is None else leaf * (gain * multiplier).astype(leaf.dtype)

        scaled = jax.tree_util.tree_map_with_path(scale, updates)
        if remaining:
            raise ValueError(
                f"The updates lack the factors {sorted(remaining)}, which init saw: pass init the "
                "tree of parameters that the gradients are taken for."
            )
        return scaled, state

    # optax's types ask for a state of any kind; this one has its own.
    return optax.GradientTransformation(init, apply)  # ty: ignore[invalid-argument-type]


def muon_dimension_numbers(params: optax.Params) -> Any:
    """Returns for every parameter which of its axes are a matrix to Muon, None for those of Adam.

    Every matrix ``n_k x m_k`` of a factor ``(rank, n_k, m_k)`` is one, and so is every block of a
    block-diagonal kernel. All other arrays are as without this function: those of two axes are
    matrices, and the rest, which Muon would pass on to Adam with the factors, is Adam's.

    Example::

      >>> import optax
      >>> from kfc_jax.layers import muon_dimension_numbers, scale_factor_updates
      >>> muon = optax.contrib.muon(0.02, muon_weight_dimension_numbers=muon_dimension_numbers)
      >>> optimizer = optax.chain(muon, scale_factor_updates(update="orthogonal"))

    Args:
      params: any tree of parameters, as ``optax.contrib.muon`` hands it over.
    """

    def axes(path: Any, leaf: Any) -> optax.contrib.MuonDimensionNumbers | None:
        kind, count = kind_at(path), len(jnp.shape(leaf))
        has_matrices = kind is not None and not issubclass(kind, DenseStructure)
        if count != 2 and not (has_matrices and count > 2):
            return None
        return optax.contrib.MuonDimensionNumbers(count - 2, count - 1)

    return jax.tree_util.tree_map_with_path(axes, params)


def add_decayed_weights(
    weight_decay: optax.ScalarOrSchedule = 0.0,
    mask: Any | Callable[[optax.Params], Any] | None = None,
    *,
    params: optax.Params | None = None,
) -> optax.GradientTransformation:
    """As ``optax.add_decayed_weights``, but factors decay so that their product does.

    A decay ``d`` shrinks a dense kernel by ``1 - lr d`` each step. It would shrink a product of N
    factors N times as fast; so each factor's decay is ``d / N``, and ``(1 - lr d / N)^N`` is the
    dense kernel's rate up to terms of order ``(lr d)^2``. Factors are known as in
    ``factor_multipliers``.

    Args:
      weight_decay: decay of a kernel, or a schedule of it.
      mask: tree of booleans like the parameters (or a prefix of it), or a function that makes one
        of them: what decays. Default: everything.
      params: the parameters of the whole model, needed as in ``scale_factor_updates``.

    Raises:
      ValueError: if ``params`` lacks some factors of a layer; at ``update``, without parameters,
        or if these are as ``scale_factor_updates`` refuses them at ``init``.
    """
    inner = optax.add_decayed_weights(weight_decay, mask)
    of_model = None if params is None else _factors_per_product(params)

    def apply(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        if params is None:
            raise ValueError("Weight decay needs the parameters: call update(..., params).")
        counts = _factors_per_product(params) if of_model is None else _of_factors(params, of_model)
        shares = jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf / counts[name] if (name := path_name(path)) in counts else leaf,
            params,
        )
        return inner.update(updates, state, shares)

    return optax.GradientTransformation(inner.init, apply)


def _factors_per_product(params: optax.Params) -> dict[str, int]:
    """Returns for every factor, by its path, how many factors its product has."""
    return {f.path: len(term) for layer in factors_by_layer(params) for term in layer for f in term}


def _of_factors(params: optax.Params, of_model: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is known of the factors that a part of the model's parameters has."""
    found = factor_paths(params)
    if unknown := [path for path in found if path not in of_model]:
        raise ValueError(
            f"The tree has the factors {unknown}, but the whole model, params, has "
            f"{sorted(of_model)}: pass as params= the tree that the optimizer is initialised with."
        )
    return {path: of_model[path] for path in found}
