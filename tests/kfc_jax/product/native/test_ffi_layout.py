"""The structs of `kfc_jax.product.native.ffi` against the header that this jaxlib ships."""

import ctypes
import pathlib
import re

import jaxlib
import pytest

from kfc_jax.product.native import ffi

HEADER = pathlib.Path(jaxlib.__file__).parent / "include/xla/ffi/api/c_api.h"
PLAIN = {
    "size_t": ctypes.c_size_t,
    "int": ctypes.c_int,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "uint32_t": ctypes.c_uint32,
}
STRUCTS = [
    (ffi.ApiVersion, "XLA_FFI_Api_Version"),
    (ffi.ErrorCreateArgs, "XLA_FFI_Error_Create_Args"),
    (ffi.ErrorDestroyArgs, "XLA_FFI_Error_Destroy_Args"),
    (ffi.Buffer, "XLA_FFI_Buffer"),
    (ffi.Values, "XLA_FFI_Args"),
    (ffi.Values, "XLA_FFI_Rets"),
    (ffi.CallFrame, "XLA_FFI_CallFrame"),
    (ffi.ScheduleArgs, "XLA_FFI_ThreadPool_Schedule_Args"),
    (ffi.NumThreadsArgs, "XLA_FFI_ThreadPool_NumThreads_Args"),
    (ffi.Api, "XLA_FFI_Api"),
    (ffi.Metadata, "XLA_FFI_Metadata"),
]
CALLED = {
    "error_create": "XLA_FFI_Error_Create",
    "error_destroy": "XLA_FFI_Error_Destroy",
    "schedule": "XLA_FFI_ThreadPool_Schedule",
    "num_threads": "XLA_FFI_ThreadPool_NumThreads",
}


@pytest.fixture(scope="module")
def text():
    text = re.sub(r"//[^\n]*", "", HEADER.read_text())
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def fields_of(text, name):
    """Returns the fields of a struct, as (name, ctype), in their order."""
    body = re.search(rf"struct {name} \{{(.*?)\n\}}", text, re.DOTALL)
    assert body, name
    found = []
    for field in filter(None, map(str.strip, body[1].split(";"))):
        if function := re.fullmatch(r"_XLA_FFI_API_STRUCT_FIELD\((\w+)\)", field):
            found.append((function[1], ctypes.c_void_p))
            continue
        type_, star, field_name = re.fullmatch(
            r"(?:const |struct )*(\w+)\s*(\**)\s*(\w+)", field
        ).groups()
        found.append((field_name, ctypes.c_void_p if star else type_of(text, type_)))
    return found


def type_of(text, name):
    if name in PLAIN:
        return PLAIN[name]
    if re.search(rf"typedef enum \{{[^}}]*\}} {name};", text):
        return ctypes.c_int
    if re.search(rf"typedef uint32_t {name};", text):
        return ctypes.c_uint32
    return struct_of(text, name)


def struct_of(text, name):
    return type(name, (ctypes.Structure,), {"_fields_": fields_of(text, name)})


def places(struct):
    return [
        (getattr(struct, name).offset, getattr(struct, name).size) for name, _ in struct._fields_
    ]


@pytest.mark.parametrize(("ours", "name"), STRUCTS, ids=[name for _, name in STRUCTS])
def test_every_field_is_where_the_header_has_it(ours, name, text):
    theirs = struct_of(text, name)
    assert places(ours) == places(theirs)[: len(ours._fields_)]


def test_the_extension_of_a_metadata_query(text):
    # Its name since jaxlib 0.12, and before.
    names = ("XLA_FFI_InternalExtension", "XLA_FFI_Extension_Base")
    base = struct_of(text, next(name for name in names if f"struct {name} {{" in text))
    assert places(ffi.MetadataExtension)[:3] == places(base)
    pointer = struct_of(text, "XLA_FFI_Metadata_Extension").metadata
    assert ffi.MetadataExtension.metadata.offset == pointer.offset


@pytest.mark.parametrize("ours", CALLED)
def test_the_functions_that_are_called_are_those_of_the_header(ours, text):
    names = [name for name, _ in fields_of(text, "XLA_FFI_Api")]
    assert names.index(CALLED[ours]) == [name for name, _ in ffi.Api._fields_].index(ours)


def test_numbers_of_stages_errors_and_types(text):
    def number(name):
        return int(re.search(rf"\b{name} = (\d+)", text)[1])

    assert number("XLA_FFI_ExecutionStage_EXECUTE") == ffi.EXECUTE
    assert number("XLA_FFI_Error_Code_INVALID_ARGUMENT") == ffi.INVALID_ARGUMENT
    names = {"bfloat16": "BF16", "float32": "F32", "float64": "F64"}
    assert {k: number(f"XLA_FFI_DataType_{v}") for k, v in names.items()} == ffi.DTYPES
