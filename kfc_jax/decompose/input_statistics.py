"""What a layer sees: mean and second moment of its inputs, by which errors are weighted."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Array, Float, Int

from kfc_jax.decompose.second_moment import checked_moment, moment_of_samples

Samples = Float[Array | np.ndarray, "*batch inputs"]


@dataclasses.dataclass(frozen=True, eq=False)
class InputStatistics:
    """Mean and second moment of a layer's inputs.

    Every function of this library that weighs errors by data takes them as ``statistics``, or
    samples of the inputs in their place.

    Attributes:
      second_moment: float64 ``(inputs, inputs)``, the mean of ``x x^T``.
      mean: float64 ``(inputs,)``; None if it is unknown. With it, `kfc_jax.convert` corrects by the
        bias what an approximate kernel does to the mean of the output.

    Raises:
      ValueError: if the shapes do not match, a number is not finite, or the matrix cannot be a
        second moment (it is all zero, not symmetric, or has a negative eigenvalue).
    """

    second_moment: Float[np.ndarray, "inputs inputs"]
    mean: Float[np.ndarray, " inputs"] | None = None
    _has_covariance: bool = dataclasses.field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        moment = checked_moment(self.second_moment)
        object.__setattr__(self, "second_moment", moment)
        if self.mean is not None:
            mean = np.asarray(self.mean, np.float64)
            if mean.shape != moment.shape[:1] or not np.isfinite(mean).all():
                raise ValueError(
                    f"The mean of inputs must be {moment.shape[0]} finite numbers; got shape "
                    f"{mean.shape}."
                )
            object.__setattr__(self, "mean", mean)

    @classmethod
    def of(cls, samples: Samples | InputStatistics) -> InputStatistics:
        """Returns the statistics of samples ``(..., inputs)``; statistics are returned as they are.

        Raises:
          ValueError: if there is no sample, or a number is not finite.
        """
        if isinstance(samples, InputStatistics):
            return samples
        size = np.shape(samples)[-1] if np.ndim(samples) else 1
        moment = moment_of_samples(samples, size)
        return cls(moment, np.asarray(samples).reshape(-1, size).mean(0, dtype=np.float64))

    @property
    def inputs(self) -> int:
        """The number of inputs of the layer."""
        return len(self.second_moment)

    def centred(self) -> InputStatistics:
        """Returns the statistics of the inputs about their mean.

        They weigh the errors of a layer with a bias, which takes up the error of the output's mean.
        Statistics without a mean, or of inputs that do not vary, are returned as they are, so that
        they always weigh something.
        """
        if self.mean is None:
            return self
        variances = np.diag(self.second_moment) - self.mean**2
        if variances.sum() <= 1e-12 * np.trace(self.second_moment):
            return self
        covariance = self.second_moment - np.outer(self.mean, self.mean)
        if not self._has_covariance:
            checked_moment(covariance)
            object.__setattr__(self, "_has_covariance", True)  # it is not checked again
        found = object.__new__(InputStatistics)
        for name, value in (("second_moment", covariance), ("mean", None)):
            object.__setattr__(found, name, value)
        return found

    def reordered(self, order: Int[np.ndarray, " inputs"]) -> InputStatistics:
        """Returns the statistics of the inputs in another order."""
        mean = None if self.mean is None else self.mean[order]
        return InputStatistics(self.second_moment[np.ix_(order, order)], mean)

    def output_error(
        self,
        kernel: Float[Array | np.ndarray, "inputs features"],
        approx: Float[Array | np.ndarray, "inputs features"],
        *,
        has_bias: bool,
    ) -> float:
        """Returns ``||x @ (kernel - approx)|| / ||x @ kernel||``, or 0 if there are no outputs.

        Norms are root mean squares over the inputs. With a bias, which an approximation may
        correct, means are left out of both.
        """
        exact = np.asarray(kernel, np.float64)
        difference = exact - np.asarray(approx, np.float64)
        moment = (self.centred() if has_bias else self).second_moment
        squares = [max(0.0, np.vdot(k, moment @ k)) for k in (difference, exact)]
        return math.sqrt(squares[0] / squares[1]) if squares[1] > 0 else 0.0


def second_moment_of(
    statistics: InputStatistics | Samples | None, size: int
) -> Float[np.ndarray, "n n"] | None:
    """Returns the second moment of statistics or samples, in float64; None if there are none.

    Args:
      statistics: the statistics or samples ``(..., size)`` of a layer's inputs, or None.
      size: the number of rows of the layer's kernel.

    Raises:
      ValueError: if they are not of ``size`` inputs, or a number is not finite.
    """
    if statistics is None:
        return None
    if not isinstance(statistics, InputStatistics):
        return moment_of_samples(statistics, size)
    if statistics.inputs != size:
        raise ValueError(
            f"The statistics are of {statistics.inputs} inputs, but the kernel has {size} rows: "
            "take those of this layer."
        )
    return statistics.second_moment
