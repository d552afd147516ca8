"""The function that XLA calls: it checks what it was handed, and shares the work among threads.

A kernel's work is a number of units, which are done in any order. The threads are XLA's own: the
handler asks its pool for helpers and then takes units itself, one after the other, from a counter
that all of them share. It never waits for a helper to begin, only for units that are under way, so
a pool whose threads are all busy (or are themselves inside a handler) costs speed and never the
answer. A helper that comes late finds no unit left; what it looks at is freed by the last to leave.
"""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable, Sequence

from kfc_jax.product.native import ffi
from kfc_jax.product.native.builder import BYTES, Code, Index, Value
from kfc_jax.product.native.host import Host

BATCH = -1
"""Stands in a shape for the number of samples, which is read when the handler is called."""

_WORTH_A_HELPER = 2_000_000  # FLOPs below which waking a thread costs more than it gives

# What a call's threads share: counters, then sizes, then the addresses of the arrays. The counters
# that threads write are on a cache line of their own.
_NEXT, _DONE, _USERS, _TOTAL, _BATCH, _PER_UNIT, _ARRAYS = 0, 8, 16, 64, 72, 80, 88


@dataclasses.dataclass(frozen=True)
class Array:
    """An argument or a result of a handler.

    Attributes:
      dtype: `bfloat16`, `float32` or `float64`.
      shape: its sizes; `BATCH` for the number of samples.
    """

    dtype: str
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Handler:
    """What a handler does.

    Attributes:
      name: of the function.
      compute: type of the numbers that are computed with, `float32` or `float64`.
      arguments: what it is handed, samples first.
      results: what it writes.
      flops: of one sample.
      cut: writes how a call is cut into units: given the batch and the number of threads, how many
        samples belong to a unit, and how many units there are.
      unit: writes one unit, given its number, the batch, the samples of a unit, and the arrays.
      finish: writes what is left to do once all units are done, given the arrays.
    """

    name: str
    compute: str
    arguments: Sequence[Array]
    results: Sequence[Array]
    flops: int
    cut: Callable[[Code, Value, Value], tuple[Index, Index]]
    unit: Callable[[Code, Value, Value, Value, list[Value]], None]
    finish: Callable[[Code, list[Value]], None] | None = None


def handler_ir(handler: Handler, host: Host) -> str:
    """Returns a module that defines the handler under its name, and all that it calls."""
    arrays = [*handler.arguments, *handler.results]
    unit = Code(host, handler.compute, "internal void @unit(ptr noalias %shared, i64 %number)")
    pointers = [unit.field("%shared", _ARRAYS + 8 * i, "ptr") for i in range(len(arrays))]
    batch, per_unit = (unit.field("%shared", at, "i64") for at in (_BATCH, _PER_UNIT))
    handler.unit(unit, "%number", batch, per_unit, pointers)
    unit.do("ret void")

    task = Code(host, handler.compute, "internal void @task(ptr %shared)")
    task.do("call void @drain(ptr %shared)")
    task.do("call void @leave(ptr %shared)")
    task.do("ret void")

    parts = [unit.text(), _drain(host), _leave(host), task.text()]
    entry = Code(host, handler.compute, f"ptr @{handler.name}(ptr %frame)")
    messages = _entry(entry, handler, arrays)
    return "\n".join([*messages, *entry.declarations(), *parts, entry.text()])


def _entry(code: Code, handler: Handler, arrays: Sequence[Array]) -> list[str]:
    """Writes the function that XLA calls; returns the messages that it may answer with."""
    api = code.field("%frame", ffi.CallFrame.api.offset, "ptr")
    _answer_metadata(code, api)
    stage = code.field("%frame", ffi.CallFrame.stage.offset, "i32")
    with code.when(code.let(f"icmp ne i32 {stage}, {ffi.EXECUTE}")):
        code.do("ret ptr null")
    refusal = _Refusal(code, api)
    buffers = _buffers(code, refusal, len(handler.arguments), len(handler.results))
    batch = _check(code, refusal, buffers, arrays)
    with code.when(code.let(f"icmp slt i64 {batch}, 1")):
        code.do("ret ptr null")
    context = code.field("%frame", ffi.CallFrame.context.offset, "ptr")
    threads = _num_threads(code, api, context)
    per_unit, total = handler.cut(code, batch, threads)
    helpers = code.min(code.add(threads, -1), code.add(total, -1))
    work = code.mul(batch, handler.flops)
    helpers = code.min(helpers, code.let(f"udiv i64 {work}, {_WORTH_A_HELPER}"))

    shared = code.let(f"call ptr @malloc(i64 {_ARRAYS + 8 * len(arrays)})")
    with code.when(code.let(f"icmp eq ptr {shared}, null")):
        refusal.refuse("memory for a few numbers")
    for at, value in (
        *((_NEXT, 0), (_DONE, 0), (_USERS, code.add(helpers, 1)), (_TOTAL, total)),
        *((_BATCH, batch), (_PER_UNIT, per_unit)),
    ):
        code.set_field(shared, at, "i64", value)
    pointers = [code.field(buffer, ffi.Buffer.data.offset, "ptr") for buffer in buffers]
    for i, pointer in enumerate(pointers):
        code.set_field(shared, _ARRAYS + 8 * i, "ptr", pointer)
    _call_helpers(code, api, context, helpers, shared)
    code.do(f"call void @drain(ptr {shared})")
    _wait_until_done(code, shared, total)
    if handler.finish:
        handler.finish(code, pointers)
    code.do(f"call void @leave(ptr {shared})")
    code.do("ret ptr null")
    return refusal.messages


def _drain(host: Host) -> str:
    """Writes the function that takes units until there are none."""
    code = Code(host, "float32", "internal void @drain(ptr %shared)")
    total = code.field("%shared", _TOTAL, "i64")
    counter, done = (code.bytes_at("%shared", at) for at in (_NEXT, _DONE))
    code.do("br label %take")
    code.begin("take")
    number = code.let(f"atomicrmw add ptr {counter}, i64 1 monotonic")
    is_one = code.let(f"icmp slt i64 {number}, {total}")
    code.do(f"br i1 {is_one}, label %work, label %out")
    code.begin("work")
    code.do(f"call void @unit(ptr %shared, i64 {number})")
    code.let(f"atomicrmw add ptr {done}, i64 1 release")
    code.do("br label %take")
    code.begin("out")
    code.do("ret void")
    return code.text()


def _leave(host: Host) -> str:
    """Writes the function with which a thread leaves a call; the last frees what they shared."""
    code = Code(host, "float32", "internal void @leave(ptr %shared)")
    users = code.let(f"atomicrmw sub ptr {code.bytes_at('%shared', _USERS)}, i64 1 acq_rel")
    with code.when(code.let(f"icmp eq i64 {users}, 1")):
        code.do("call void @free(ptr %shared)")
    code.do("ret void")
    return code.text()


def _answer_metadata(code: Code, api: Value) -> None:
    """Answers the question with which a handler is registered: the interface's own version."""
    extension = code.field("%frame", ffi.CallFrame.extension.offset, "ptr")
    with code.when(code.let(f"icmp ne ptr {extension}, null")):
        metadata = code.field(extension, ffi.MetadataExtension.metadata.offset, "ptr")
        for part in (ffi.ApiVersion.major, ffi.ApiVersion.minor):
            value = code.field(api, ffi.Api.version.offset + part.offset, "i32")
            code.set_field(metadata, ffi.Metadata.version.offset + part.offset, "i32", value)
        code.set_field(metadata, ffi.Metadata.traits.offset, "i32", 0)
        code.do("ret ptr null")


class _Refusal:
    """Ends calls with errors."""

    def __init__(self, code: Code, api: Value) -> None:
        self.messages: list[str] = []
        self._code, self._api = code, api

    def refuse_if(self, condition: str, what: str) -> None:
        """Ends the call with an error if a comparison holds."""
        with self._code.when(self._code.let(condition)):
            self.refuse(what)

    def refuse(self, what: str) -> None:
        """Ends the call with an error."""
        text = f"A native kernel of kfc_jax was called wrongly: {what}."
        name = f"@message{len(self.messages)}"
        self.messages.append(f'{name} = private constant [{len(text) + 1} x i8] c"{text}\\00"')
        arguments = _struct(
            self._code,
            ffi.ErrorCreateArgs,
            message=("ptr", name),
            kind=("i32", ffi.INVALID_ARGUMENT),
        )
        error = _call_api(self._code, self._api, ffi.Api.error_create.offset, arguments)
        self._code.do(f"ret ptr {error}")


def _buffers(code: Code, refusal: _Refusal, num_arguments: int, num_results: int) -> list[Value]:
    """Returns the addresses of all buffers, after a check that there are as many as expected."""
    found = []
    frame = ffi.CallFrame
    for part, count in ((frame.arguments, num_arguments), (frame.results, num_results)):
        size = code.field("%frame", part.offset + ffi.Values.size.offset, "i64")
        refusal.refuse_if(f"icmp ne i64 {size}, {count}", "the number of arrays is another one")
        values = code.field("%frame", part.offset + ffi.Values.values.offset, "ptr")
        found += [code.field(values, 8 * i, "ptr") for i in range(count)]
    return found


def _check(
    code: Code, refusal: _Refusal, buffers: Sequence[Value], arrays: Sequence[Array]
) -> Value:
    """Checks type, sizes and alignment of every buffer; returns the batch."""
    batch: Index = BATCH
    for number, (buffer, array) in enumerate(zip(buffers, arrays, strict=True)):
        dtype = code.field(buffer, ffi.Buffer.dtype.offset, "i32")
        what = f"array {number} is not of type {array.dtype}"
        refusal.refuse_if(f"icmp ne i32 {dtype}, {ffi.DTYPES[array.dtype]}", what)
        rank = code.field(buffer, ffi.Buffer.rank.offset, "i64")
        what = f"array {number} does not have {len(array.shape)} axes"
        refusal.refuse_if(f"icmp ne i64 {rank}, {len(array.shape)}", what)
        sizes = code.field(buffer, ffi.Buffer.dims.offset, "ptr")
        for axis, expected in enumerate(array.shape):
            size = code.field(sizes, 8 * axis, "i64")
            if expected == BATCH and batch == BATCH:
                batch = size
                continue
            what = f"axis {axis} of array {number} has another size"
            wanted = batch if expected == BATCH else expected
            refusal.refuse_if(f"icmp ne i64 {size}, {wanted}", what)
        data = code.field(buffer, ffi.Buffer.data.offset, "ptr")
        address = code.let(f"ptrtoint ptr {data} to i64")
        remainder = code.let(f"and i64 {address}, {BYTES[array.dtype] - 1}")
        refusal.refuse_if(f"icmp ne i64 {remainder}, 0", f"array {number} is not aligned")
    assert isinstance(batch, Value)
    return batch


def _num_threads(code: Code, api: Value, context: Value) -> Value:
    """Returns how many threads XLA's pool has; 1 where it has none."""
    answer = code.room(8)
    code.set_field(answer, 0, "i64", 1)
    arguments = _struct(
        code, ffi.NumThreadsArgs, context=("ptr", context), num_threads=("ptr", answer)
    )
    error = _call_api(code, api, ffi.Api.num_threads.offset, arguments)
    with code.when(code.let(f"icmp ne ptr {error}, null")):
        _destroy(code, api, error)
    return code.max(code.field(answer, 0, "i64"), 1)


def _call_helpers(code: Code, api: Value, context: Value, helpers: Value, shared: Value) -> None:
    """Asks the pool for helpers; for each that it refuses, one user of the call leaves."""
    arguments = _struct(
        code,
        ffi.ScheduleArgs,
        context=("ptr", context),
        task=("ptr", "@task"),
        data=("ptr", shared),
    )
    with code.loop(helpers):
        error = _call_api(code, api, ffi.Api.schedule.offset, arguments)
        with code.when(code.let(f"icmp ne ptr {error}, null")):
            _destroy(code, api, error)
            code.do(f"call void @leave(ptr {shared})")


def _destroy(code: Code, api: Value, error: Value) -> None:
    """Gives back an error that the interface answered with."""
    arguments = _struct(code, ffi.ErrorDestroyArgs, error=("ptr", error))
    _call_api(code, api, ffi.Api.error_destroy.offset, arguments)


def _wait_until_done(code: Code, shared: Value, total: Index) -> None:
    """Waits for the units that helpers are doing."""
    done = code.bytes_at(shared, _DONE)
    code.do("br label %check")
    code.begin("check")
    count = code.let(f"load atomic i64, ptr {done} acquire, align 8")
    is_waiting = code.let(f"icmp slt i64 {count}, {total}")
    code.do(f"br i1 {is_waiting}, label %wait, label %ready")
    code.begin("wait")
    hint = "@llvm.aarch64.hint(i32 1)" if code.host.is_arm else "@llvm.x86.sse2.pause()"
    code.do(f"call void {hint}")
    code.do("br label %check")
    code.begin("ready")


def _struct(code: Code, layout: type[ctypes.Structure], **values: tuple[str, Index]) -> Value:
    """Returns a struct of the interface on the stack, filled."""
    size = ctypes.sizeof(layout)
    room = code.room(size)
    code.set_field(room, layout.struct_size.offset, "i64", size)
    code.set_field(room, layout.extension.offset, "ptr", "null")
    for name, (type_, value) in values.items():
        code.set_field(room, getattr(layout, name).offset, type_, value)
    return room


def _call_api(code: Code, api: Value, offset: int, arguments: Value) -> Value:
    """Calls a function of the interface by its place in the table."""
    function = code.field(api, offset, "ptr")
    return code.let(f"call ptr {function}(ptr {arguments})")
