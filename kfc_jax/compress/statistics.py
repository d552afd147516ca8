"""What the layers of a model see: their inputs' mean and second moment, found by running it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from flax.core.scope import union_filters
from jax import lax
from jaxtyping import Array, Float

from kfc_jax.compress.replace import CompressedModel
from kfc_jax.decompose import InputStatistics
from kfc_jax.layers import FactoredDense

_Sums = tuple[float, np.ndarray, np.ndarray]  # count, mean, and second moment about it, summed
_COLLECTION, _NAME = "kfc_jax", "sums"  # of what layers record


def input_statistics(
    model: nn.Module | CompressedModel,
    variables: Any,
    batches: Iterable[Any],
    *,
    layers: Collection[str] | None = None,
    **kwargs: Any,
) -> dict[str, InputStatistics]:
    """Runs a model on data, and returns the statistics of what its dense layers see.

    Layers inside lifted loops (`nn.scan`, `nn.vmap`) are not seen; those in `nn.remat` and `nn.jit`
    are.

    Example::

      >>> import flax.linen as nn, jax, jax.numpy as jnp
      >>> from kfc_jax import input_statistics
      >>> model, x = nn.Sequential([nn.Dense(5), nn.relu, nn.Dense(3)]), jnp.ones((8, 4))
      >>> found = input_statistics(model, model.init(jax.random.key(0), x), [x, x])
      >>> {path: statistics.second_moment.shape for path, statistics in found.items()}
      {'layers_0': (4, 4), 'layers_2': (5, 5)}

    Args:
      model: a Flax model, or a `CompressedModel`; its layers may be `nn.Dense`, `KFCDense`,
        `LowRankDense` or of another kind.
      variables: its variables, ``{"params": ...}``.
      batches: the inputs of the model, one array (or tree) for each batch.
      layers: the paths of the layers to look at. Default: all.
      **kwargs: passed to the model, such as ``train=False``.

    Raises:
      ValueError: if there is no batch, a wanted layer was not called, or an input is not finite.
    """
    mutable = union_filters(kwargs.pop("mutable", False), _COLLECTION)

    @jax.jit
    def run(variables: Any, batch: Any) -> Any:
        def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            module = context.module
            is_dense = isinstance(module, nn.Dense | FactoredDense)
            is_wanted = is_dense and _wanted("/".join(module.path), layers)
            if is_wanted and context.method_name == "__call__":
                module.sow(_COLLECTION, _NAME, _sums(args[0] if args else kwargs["inputs"]))
            return call(*args, **kwargs)

        with nn.intercept_methods(record):
            _, sown = model.apply(variables, batch, mutable=mutable, **kwargs)
        return sown.get(_COLLECTION, {})

    totals: dict[str, _Sums] = {}
    for batch in batches:
        for keys, calls in traverse_util.flatten_dict(run(variables, batch)).items():
            path = "/".join(keys[:-1])
            for sums in filter(_is_any, calls):  # of every call of the layer
                totals[path] = _add(totals.get(path), sums)
    if missing := sorted(set(layers or ()) - totals.keys()) or (["any"] if not totals else []):
        raise ValueError(
            f"No dense layer {missing[0]!r} was called; those that were: {', '.join(totals)}. Give "
            "at least one batch, and the layers' paths in the parameters."
        )
    result = {}
    for path, (count, mean, scatter) in totals.items():
        try:
            moment = scatter / count + np.outer(mean, mean)
            result[path] = InputStatistics((moment + moment.T) / 2, mean)
        except ValueError as error:
            raise ValueError(f"layer {path}: {error}") from error
    return result


def _sums(inputs: Float[Array, "*batch inputs"]) -> tuple[Array, Array, Array, Array]:
    """Returns count, about the mean, and about that sum and second moment of the inputs.

    About their mean, as float32 does not know a variance far from 0.
    """
    x = jnp.reshape(inputs, (-1, jnp.shape(inputs)[-1])).astype(jnp.float32)
    about = x.mean(0)
    x -= about
    moment = jnp.matmul(x.T, x, precision=lax.Precision.HIGHEST)
    return jnp.float32(len(x)), about, x.sum(0), moment


def _is_any(sums: tuple[Array, Array, Array, Array]) -> bool:
    return bool(sums[0] > 0)


def _add(total: _Sums | None, sums: tuple[Array, Array, Array, Array]) -> _Sums:
    """Adds the sums of a call, in float64 (Chan, Golub & LeVeque, 1983, eq. 2.1)."""
    count, about, rest, moment = (np.asarray(x, np.float64) for x in sums)
    mean, scatter = about + rest / count, moment - np.outer(rest, rest) / count
    if total is None:
        return float(count), mean, scatter
    before, old, sum_of_both = total[0], mean - total[1], total[0] + float(count)
    scatter = total[2] + scatter + np.outer(old, old) * (before * count / sum_of_both)
    return sum_of_both, total[1] + old * (count / sum_of_both), scatter


def _wanted(path: str, layers: Collection[str] | None) -> bool:
    return layers is None or path in layers
