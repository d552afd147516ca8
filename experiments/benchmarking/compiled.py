"""Functions compiled ahead of their first call, with what the compiler says of them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class CompiledCall:
    """A function, compiled for its arguments.

    Attributes:
      function: the compiled function.
      arguments: what it is called with.
      compile_seconds: how long tracing and compiling took.
      temporary_bytes: memory that it needs besides arguments and results; None if not known.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    compile_seconds: float
    temporary_bytes: int | None

    def __call__(self) -> Any:
        """Calls it, and returns the result once that is there."""
        return jax.block_until_ready(self.function(*self.arguments))


def compile_call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> CompiledCall:
    """Compiles a function of arrays for `arguments`."""
    start = time.perf_counter()
    # A new function each time: one seen before would be found traced already.
    compiled = jax.jit(lambda *arrays: function(*arrays)).lower(*arguments).compile()
    seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    return CompiledCall(
        compiled, arguments, seconds, None if memory is None else memory.temp_size_in_bytes
    )
