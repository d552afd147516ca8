"""XLA's foreign function interface as a handler sees it: where the fields of its structs are.

The structs are those of `xla/ffi/api/c_api.h` in jaxlib's headers, written down as ctypes
structures, which compute the offsets. They are the same in all versions from 0.1 to 0.3 of the
interface (jaxlib 0.8 to 0.12); of others nothing is known, and nothing is called.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_int64, c_size_t, c_void_p
from typing import Any

EXECUTE = 3  # the stage in which a handler computes
INVALID_ARGUMENT = 3  # the code of an error

DTYPES = {"bfloat16": 16, "float32": 11, "float64": 12}


def _struct(name: str, *fields: tuple[str, Any]) -> type[ctypes.Structure]:
    header = [("struct_size", c_size_t), ("extension", c_void_p)]
    return type(name, (ctypes.Structure,), {"_fields_": [*header, *fields]})


ApiVersion = _struct("ApiVersion", ("major", c_int32), ("minor", c_int32))
ErrorCreateArgs = _struct("ErrorCreateArgs", ("message", c_void_p), ("kind", c_int32))
ErrorDestroyArgs = _struct("ErrorDestroyArgs", ("error", c_void_p))
Buffer = _struct(
    "Buffer", ("dtype", c_int32), ("data", c_void_p), ("rank", c_int64), ("dims", c_void_p)
)
Values = _struct("Values", ("size", c_int64), ("types", c_void_p), ("values", c_void_p))
CallFrame = _struct(
    "CallFrame",
    ("api", c_void_p),
    ("context", c_void_p),
    ("stage", c_int32),
    ("arguments", Values),
    ("results", Values),
)
ScheduleArgs = _struct(
    "ScheduleArgs", ("context", c_void_p), ("task", c_void_p), ("data", c_void_p)
)
NumThreadsArgs = _struct("NumThreadsArgs", ("context", c_void_p), ("num_threads", c_void_p))
Api = _struct(
    "Api",
    ("version", ApiVersion),
    ("internal", c_void_p),
    *(
        (name, c_void_p)
        for name in (
            *("error_create", "error_message", "error_destroy", "handler_register", "stream_get"),
            *("type_register", "execution_context", "state_set", "state_get", "allocate", "free"),
            *("schedule", "num_threads"),
        )
    ),
)


class Metadata(ctypes.Structure):
    """What a handler says of itself when it is registered."""

    _fields_ = (("struct_size", c_size_t), ("version", ApiVersion), ("traits", c_int32))


class MetadataExtension(ctypes.Structure):
    """The extension of a call frame that asks for `Metadata`."""

    _fields_ = (
        ("struct_size", c_size_t),
        ("type", c_int32),
        ("next", c_void_p),
        ("metadata", c_void_p),
    )


def unfit_version() -> str:
    """Returns why this jaxlib's interface cannot be used; empty if it can."""
    import jaxlib.version

    version = jaxlib.version.__version_info__[:2]
    if not (0, 8) <= version < (0, 13):
        return (
            f"jaxlib {jaxlib.version.__version__} was never tried with native kernels, which know "
            "0.8 to 0.12"
        )
    return ""
