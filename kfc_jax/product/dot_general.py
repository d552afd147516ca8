"""JAX's own product of arrays, also while another function stands in its place.

Quantisers and profilers put theirs in the place of ``jax.lax.dot_general`` for a while. What is
planned is compiled once and kept, so it must never be made of a product that is there for a while.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jax import lax

try:
    from jax._src.lax.lax import dot_general as own_dot_general
except ImportError:  # a later version may define it elsewhere
    own_dot_general = lax.dot_general

DotGeneral = Callable[..., Any]
"""What may stand in its place."""

__all__ = ["DotGeneral", "is_replaced", "own_dot_general"]


def is_replaced() -> bool:
    """Says whether another function stands in the place of ``jax.lax.dot_general`` now."""
    return lax.dot_general is not own_dot_general
