"""JAX's own product of arrays, also while another function stands in its place.

Quantisers and profilers put theirs in the place of ``jax.lax.dot_general`` for a while. What is
planned is compiled once and kept, so it must never be made of a product that is there for a while.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from jax import lax

try:
    from jax._src.lax.lax import dot_general as _jax_dot_general
except ImportError:  # a later version may define it elsewhere
    _jax_dot_general = lax.dot_general


def _copy(function: Any) -> Any:
    """Returns a function of its own with the code that it has now, where it is one of Python."""
    if not isinstance(function, types.FunctionType):
        return function
    copy = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


own_dot_general = _copy(_jax_dot_general)
"""JAX's own, also where another code stands in it for a while."""

DotGeneral = Callable[..., Any]
"""What may stand in its place."""

__all__ = ["DotGeneral", "is_replaced", "own_dot_general"]


def is_replaced() -> bool:
    """Says whether another function stands in the place of ``jax.lax.dot_general`` now.

    Qwix puts another code into the very function.
    """
    its_code, own_code = (getattr(f, "__code__", None) for f in (_jax_dot_general, own_dot_general))
    return lax.dot_general is not _jax_dot_general or its_code is not own_code
