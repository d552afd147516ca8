"""A caller of handlers as XLA is one, but with memory and threads that a test decides on."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable, Sequence

from kfc_jax.product.native import ffi
from kfc_jax.product.native.compiler import _engine, register
from kfc_jax.product.native.handler import Handler, handler_ir
from kfc_jax.product.native.host import host

_Function = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
_Task = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_ERROR = 0xE0  # stands for the address of an error, which nobody looks at


@dataclasses.dataclass
class Buffer:
    """An array as a handler sees it."""

    dtype: str
    shape: tuple[int, ...]
    address: int

    def struct(self) -> ffi.Buffer:
        dims = (ctypes.c_int64 * len(self.shape))(*self.shape)
        struct = ffi.Buffer(ctypes.sizeof(ffi.Buffer), None, ffi.DTYPES.get(self.dtype, 1))
        struct.data, struct.rank = self.address, len(self.shape)
        struct.dims = ctypes.cast(dims, ctypes.c_void_p)
        struct.kept = dims
        return struct


@dataclasses.dataclass
class Caller:
    """Calls handlers.

    Attributes:
      threads: how many threads the pool is said to have; None: there is no pool, which is an error.
      schedule: what is done with a task that a handler puts on the pool, which is a function
        without arguments; what it returns says whether it took the task.
      errors: messages of all errors that handlers made.
      alive: how many of its own errors handlers were given, less those that they destroyed.
    """

    threads: int | None = 1
    schedule: Callable[[Callable[[], None]], bool] = lambda task: False
    errors: list[str] = dataclasses.field(default_factory=list)
    alive: int = 0

    def __post_init__(self) -> None:
        functions = {
            "error_create": self._create,
            "error_destroy": self._destroy,
            "schedule": self._schedule,
            "num_threads": self._num_threads,
        }
        self._kept = {name: _Function(function) for name, function in functions.items()}
        self._api = ffi.Api(ctypes.sizeof(ffi.Api), None)
        for name, function in self._kept.items():
            setattr(self._api, name, ctypes.cast(function, ctypes.c_void_p))

    def call(self, address: int, arguments: Sequence[Buffer], results: Sequence[Buffer]) -> str:
        """Calls a handler; returns the message of its error, empty if it made none."""
        frame = ffi.CallFrame(ctypes.sizeof(ffi.CallFrame), None, ctypes.addressof(self._api))
        frame.stage = ffi.EXECUTE
        kept = []
        for values, buffers in ((frame.arguments, arguments), (frame.results, results)):
            structs = [buffer.struct() for buffer in buffers]
            pointers = (ctypes.c_void_p * len(structs))(*map(ctypes.addressof, structs))
            values.size, values.values = len(structs), ctypes.addressof(pointers)
            kept += [structs, pointers]
        before = len(self.errors)
        error = _Function(address)(ctypes.addressof(frame))
        assert (error or 0) in (0, _ERROR)
        assert bool(error) == (len(self.errors) > before)
        return self.errors[-1] if error else ""

    def _create(self, arguments: int) -> int:
        found = ffi.ErrorCreateArgs.from_address(arguments)
        assert found.kind == ffi.INVALID_ARGUMENT
        self.errors.append(ctypes.string_at(found.message).decode())
        return _ERROR

    def _destroy(self, arguments: int) -> int:
        assert ffi.ErrorDestroyArgs.from_address(arguments).error == _ERROR
        self.alive -= 1
        return 0

    def _schedule(self, arguments: int) -> int:
        found = ffi.ScheduleArgs.from_address(arguments)
        task, data = _Task(found.task), found.data
        if self.schedule(lambda: task(data)):
            return 0
        self.alive += 1
        return _ERROR

    def _num_threads(self, arguments: int) -> int:
        if self.threads is None:
            self.alive += 1
            return _ERROR
        place = ffi.NumThreadsArgs.from_address(arguments).num_threads
        ctypes.c_int64.from_address(place).value = self.threads
        return 0


def compiled(handler: Handler) -> int:
    """Returns the address of a handler's machine code."""
    register(handler.name, handler_ir(handler, host()), host())
    return _engine(host()).get_function_address(handler.name)
