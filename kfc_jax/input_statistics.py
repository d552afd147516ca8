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
from jax import lax
from jaxtyping import Array, Float, Int

from kfc_jax.linen import KFCDense, LowRankDense
from kfc_jax.second_moment import second_moment_of


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

    Layers inside lifted loops (`nn.scan`) are not seen.

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

    @jax.jit
    def run(variables: Any, batch: Any) -> dict[str, tuple[Array, Array, Array]]:
        found: dict[str, tuple[Array, Array, Array]] = {}

        def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            path = "/".join(context.module.path)
            is_dense = isinstance(context.module, nn.Dense | KFCDense | LowRankDense)
            if is_dense and context.method_name == "__call__" and _wanted(path, layers):
                x = jnp.reshape(args[0], (-1, jnp.shape(args[0])[-1])).astype(jnp.float32)
                moment = jnp.matmul(x.T, x, precision=lax.Precision.HIGHEST)
                sums = (jnp.float32(len(x)), x.sum(0), moment)
                found[path] = jax.tree.map(jnp.add, found[path], sums) if path in found else sums
            return call(*args, **kwargs)

        with nn.intercept_methods(record):
            model.apply(variables, batch, **kwargs)
        return found

    totals: dict[str, Any] = {}
    for batch in batches:
        sums = jax.tree.map(lambda x: np.asarray(x, np.float64), run(variables, batch))
        totals = jax.tree.map(np.add, totals, sums) if totals else sums
    if missing := sorted(set(layers or ()) - totals.keys()) or (["any"] if not totals else []):
        raise ValueError(
            f"No dense layer {missing[0]!r} was called; those that were: {', '.join(totals)}. Give "
            "at least one batch, and the layers' paths in the parameters."
        )
    result = {}
    for path, (count, total, moment) in totals.items():
        try:
            result[path] = InputStatistics((moment + moment.T) / 2 / count, total / count)
        except ValueError as error:
            raise ValueError(f"layer {path}: {error}") from error
    return result


def _wanted(path: str, layers: Collection[str] | None) -> bool:
    return layers is None or path in layers
