"""What a decomposition reached."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Float

from kfc_jax.decompose.fit_sum import frobenius_norm, output_norm, ratio, to_float64
from kfc_jax.decompose.input_statistics import InputStatistics, Samples, second_moment_of


@dataclasses.dataclass(frozen=True)
class DecompositionReport:
    """How well a decomposition fits, and what it took.

    Attributes:
      relative_error: ``||kernel - approx|| / ||kernel||`` of the arrays as returned, rounded to
        their type; 0 for a kernel of zeros.
      output_error: ``||x @ (kernel - approx)|| / ||x @ kernel||`` over the inputs that the
        decomposition was weighted by; None if it was not weighted.
      sweep_errors: what was minimised, at the start and after every sweep, before rounding: the
        first of the two errors, or the second with its ``shrinkage``. It never rises.
      converged: whether the last sweep lowered the error by less than the tolerance.
      num_parameters: the number of entries of all arrays.
      seconds: the wall time in seconds.
    """

    relative_error: float
    output_error: float | None
    sweep_errors: tuple[float, ...]
    converged: bool
    num_parameters: int
    seconds: float

    @classmethod
    def of(
        cls,
        kernel: Float[Array | np.ndarray, "inputs features"],
        difference: Float[Array | np.ndarray, "inputs features"],
        num_parameters: int,
        *,
        statistics: InputStatistics | Samples | None = None,
        started: float,
        sweep_errors: Sequence[float] = (),
        converged: bool = True,
    ) -> DecompositionReport:
        """Returns the report of a decomposition.

        Args:
          kernel: the dense kernel.
          difference: the kernel minus what the arrays stand for, best in float64.
          num_parameters: the number of entries of all arrays.
          statistics: what the decomposition was weighted by.
          started: the reading of ``time.perf_counter()`` at its start.
          sweep_errors: the errors at the start and after every sweep. Default: the error reached.
          converged: whether the sweeps converged.
        """
        exact, output_error = to_float64(kernel), None
        difference = np.asarray(difference, np.float64)
        moment = second_moment_of(statistics, len(exact))
        error = relative_error = ratio(frobenius_norm(difference), frobenius_norm(exact))
        if moment is not None:
            output_error = ratio(output_norm(moment, difference), output_norm(moment, exact))
            error = output_error
        return cls(
            relative_error=relative_error,
            output_error=output_error,
            sweep_errors=tuple(sweep_errors) or (error,),
            converged=converged,
            num_parameters=num_parameters,
            seconds=time.perf_counter() - started,
        )
