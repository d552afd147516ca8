"""Products that a kernel does not need, in a form in which training can use them.

A product of nothing but zeros has no gradient: every factor's is a multiple of the others. With one
factor of zeros and others that are not, the product is zero too, and learns from the first step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from kfc_jax.decompose.fit_sum import NOTHING_LEFT
from kfc_jax.structures import KroneckerStructure


def with_learnable_zeros(
    terms: Sequence[Sequence[Float[np.ndarray, "_ _"]]],
    structure: KroneckerStructure,
    kernel: Float[Any, "inputs features"],
    dtype: Any,
) -> list[list[Float[np.ndarray, "_ _"]]]:
    """Returns the terms with every product of rounding alone made zero by its first factor.

    Its other factors are random numbers from a fixed seed, as large as those of an initialiser
    for a kernel of this mean square; for a kernel of zeros it is that of a usual initial kernel,
    as in ``kfc_jax.layers.initializers``. A single factor of zeros learns as it is.

    Args:
      terms: the vectors of every term, in canonical form.
      structure: the structure of the kernel.
      kernel: the dense kernel.
      dtype: the type of the kernel, which says how large its rounding is.
    """
    rng = np.random.default_rng(0)
    exact = np.asarray(kernel, np.float64)
    # A type that rounds more may hold on purpose what is of the size of its rounding.
    rounding = min(float(jnp.finfo(dtype).eps), float(np.finfo(np.float32).eps))
    least = max(NOTHING_LEFT, rounding) * np.linalg.norm(exact)
    variance = np.mean(np.square(exact)) or 1 / structure.inputs
    result = []
    for t, vectors in enumerate(terms):
        norms = np.prod([np.linalg.norm(v, axis=1) for v in vectors], axis=0)
        unneeded = norms <= least
        changed = [vector.copy() for vector in vectors]
        if unneeded.any() and len(changed) > 1:
            changed[0][unneeded] = 0
            for k, vector in enumerate(changed[1:], 1):
                values = rng.standard_normal((unneeded.sum(), vector.shape[1]))
                values /= np.sqrt(np.mean(np.square(values), axis=1, keepdims=True))
                if k < len(changed) - 1:
                    largest = np.take_along_axis(values, np.abs(values).argmax(1)[:, None], 1)
                    values *= np.sign(largest)
                vector[unneeded] = structure.factor_scale(t, k, variance) * values
        result.append(changed)
    return result
