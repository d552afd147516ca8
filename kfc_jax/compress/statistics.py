"""What dense layers see: mean and second moment of their inputs, the weights of a compression."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from flax.core.scope import union_filters
from jax import lax
from jaxtyping import Array, Float, Int

from kfc_jax.decompose import second_moment_of
from kfc_jax.layers import KFCDense, LowRankDense

_Sums = tuple[float, np.ndarray, np.ndarray]  # count, mean, and second moment about it, summed
_COLLECTION, _NAME = "kfc_jax", "sums"  # of what layers record


@dataclasses.dataclass(frozen=True, eq=False)
class InputStatistics:
    """Mean and second moment of a layer's inputs.

    Attributes:
      second_moment: float64 ``(inputs, inputs)``, the mean of ``x x^T``.
      mean: float64 ``(inputs,)``; None if unknown. With it, what an approximate kernel does to the
        mean of the output is put right by the bias.

    Raises:
      ValueError: if the shapes do not match, or a number is not finite.
    """

    second_moment: Float[np.ndarray, "inputs inputs"]
    mean: Float[np.ndarray, " inputs"] | None = None

    def __post_init__(self) -> None:
        moment = np.asarray(self.second_moment, np.float64)
        if moment.ndim != 2 or moment.shape[0] != moment.shape[1]:
            raise ValueError(f"A second moment is a square matrix; got shape {moment.shape}.")
        object.__setattr__(self, "second_moment", second_moment_of(None, moment, moment.shape[0]))
        if self.mean is not None:
            mean = np.asarray(self.mean, np.float64)
            if mean.shape != moment.shape[:1] or not np.isfinite(mean).all():
                raise ValueError(
                    f"The mean of inputs must be {moment.shape[0]} finite numbers; got shape "
                    f"{mean.shape}."
                )
            object.__setattr__(self, "mean", mean)

    @classmethod
    def of(cls, inputs: Float[Array, "*batch inputs"]) -> InputStatistics:
        """Returns the statistics of samples of a layer's inputs.

        Raises:
          ValueError: if there is no sample, or a number is not finite.
        """
        size = np.shape(inputs)[-1] if np.ndim(inputs) else 1
        moment = second_moment_of(inputs, None, size)
        mean = np.asarray(inputs).reshape(-1, size).mean(0, dtype=np.float64)
        return cls(moment, mean)

    def weights(self, *, has_bias: bool) -> Float[np.ndarray, "inputs inputs"]:
        """Returns what an output's error is weighted by: with a bias, the covariance.

        It is the second moment if the inputs do not vary, so that it always weighs something.
        """
        if self.mean is None or not has_bias:
            return self.second_moment
        covariance = self.second_moment - np.outer(self.mean, self.mean)
        varies = np.trace(covariance) > 1e-12 * np.trace(self.second_moment)
        return covariance if varies else self.second_moment

    def reordered(self, order: Int[np.ndarray, " inputs"]) -> InputStatistics:
        """Returns the statistics of the inputs in another order."""
        mean = None if self.mean is None else self.mean[order]
        return InputStatistics(self.second_moment[np.ix_(order, order)], mean)

    def output_error(
        self,
        kernel: Float[Array, "inputs features"],
        approx: Float[Array, "inputs features"],
        *,
        has_bias: bool,
    ) -> float:
        """Returns ``||x @ (kernel - approx)|| / ||x @ kernel||``, or 0 if there are no outputs.

        With a bias, which an approximation may put right, means are left out of both.
        """
        exact = np.asarray(kernel, np.float64)
        difference = exact - np.asarray(approx, np.float64)
        weights = self.weights(has_bias=has_bias)
        squares = [max(0.0, np.vdot(k, weights @ k)) for k in (difference, exact)]
        return math.sqrt(squares[0] / squares[1]) if squares[1] > 0 else 0.0


def input_statistics(
    model: nn.Module,
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
      model: a Flax model; its layers may be `nn.Dense`, `KFCDense` or `LowRankDense`.
      variables: its variables, ``{"params": ...}``.
      batches: inputs of the model, one array (or tree) a batch.
      layers: paths of the layers to look at. Default: all.
      **kwargs: passed to the model, such as ``train=False``.

    Raises:
      ValueError: if there is no batch, a wanted layer was not called, or an input is not finite.
    """
    mutable = union_filters(kwargs.pop("mutable", False), _COLLECTION)

    @jax.jit
    def run(variables: Any, batch: Any) -> Any:
        def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            module = context.module
            is_dense = isinstance(module, nn.Dense | KFCDense | LowRankDense)
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
    return sums[0] > 0


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
