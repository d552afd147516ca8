"""Object code on disk: found by the next process, never half written, never another CPU's."""

import dataclasses
import errno
import os
import pathlib

import jax
import pytest

from kfc_jax.product import native
from tests.kfc_jax.product.native.processes import python

if native.unavailable():
    pytest.skip(native.unavailable(), allow_module_level=True)

from kfc_jax.product.native import compiler
from kfc_jax.product.native.forward import forward_handler
from kfc_jax.product.native.handler import handler_ir
from kfc_jax.product.native.host import host
from kfc_jax.product.native.kernels import make_kernel

IR = "define i64 @three() {\n  ret i64 3\n}\n"

# Multiplies, and prints how often LLVM was asked to compile, and what came out.
PROCESS = """
from unittest import mock
import jax, numpy as np
from kfc_jax import kronecker_matmul
from kfc_jax.product.native import compiler

factors = [(np.full((1, 4, 5), 2.0, np.float32), np.ones((1, 6, 3), np.float32))]
with mock.patch.object(compiler, "_compile", wraps=compiler._compile) as compile_:
    product = jax.jit(lambda x: kronecker_matmul(x, factors, strategy="native"))
    y, of_x = jax.value_and_grad(lambda x: product(x).sum())(np.ones((2, 24), np.float32))
print(compile_.call_count, float(y), float(of_x.sum()))
"""
VALUES = f"{2 * 24 * 15 * 2.0} {2 * 24 * 15 * 2.0}"


@pytest.fixture
def folder(tmp_path):
    """JAX's compilation cache is there, and nowhere else afterwards."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path / "kfc_jax_native"
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture
def object_code():
    return compiler._compile(IR, host())


def files(folder) -> list[pathlib.Path]:
    return sorted(pathlib.Path(folder).glob("**/*.o"))


def test_a_second_process_compiles_nothing(tmp_path):
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    assert python("-c", PROCESS, **cache) == f"2 {VALUES}\n"
    assert len(files(tmp_path)) == 2
    assert python("-c", PROCESS, **cache) == f"0 {VALUES}\n"
    # Nor does it with files that were damaged: these are made anew.
    first, second = files(tmp_path)
    content = first.read_bytes()
    first.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    second.write_bytes(b"")
    assert python("-c", PROCESS, **cache) == f"2 {VALUES}\n"
    assert first.read_bytes() == content


# Eight processes, forked before JAX begins, write and read the same two files over and over.
WRITERS = """
import os, signal
from kfc_jax.product.native import compiler
from kfc_jax.product.native.host import host

wanted = {name: name.encode() * 200_000 for name in ("one", "two")}

def work():
    for _ in range(40):
        for name, object_code in wanted.items():
            compiler._keep(name, host(), object_code)
            kept = compiler._kept(name, host())
            assert kept == object_code, "a file is not whole"
    os._exit(0)

children = []
for _ in range(8):
    child = os.fork()
    if not child:
        signal.alarm(120)
        try:
            work()
        finally:
            os._exit(1)
    children.append(child)
print([os.waitpid(child, 0)[1] for child in children])
"""


def test_processes_that_write_at_once_leave_whole_files_alone(tmp_path):
    output = python("-c", WRITERS, JAX_COMPILATION_CACHE_DIR=str(tmp_path))
    assert output == f"{[0] * 8}\n"
    kept = os.listdir(tmp_path / "kfc_jax_native")
    assert len(kept) == 2
    assert all(name.endswith(".o") for name in kept)


def test_what_is_kept_is_what_was_made(folder, object_code):
    assert compiler._kept(IR, host()) is None
    compiler._keep(IR, host(), object_code)
    assert compiler._kept(IR, host()) == object_code
    assert [file.parent for file in files(folder)] == [folder]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: b"",
        lambda content: content[:20],
        lambda content: bytes(len(content)),
        lambda content: content[:100] + bytes([content[100] ^ 4]) + content[101:],
        lambda content: bytes([content[0] ^ 4]) + content[1:],
    ],
    ids=[
        "cut",
        "longer",
        "empty",
        "within the digest",
        "zeros",
        "a bit of code",
        "a bit of digest",
    ],
)
def test_a_damaged_file_is_not_taken_and_is_replaced(damage, folder, object_code):
    compiler._keep(IR, host(), object_code)
    (file,) = files(folder)
    file.write_bytes(damage(file.read_bytes()))
    assert compiler._kept(IR, host()) is None
    compiler._keep(IR, host(), object_code)
    assert compiler._kept(IR, host()) == object_code


@pytest.mark.parametrize("change", [{"cpu": "skylake"}, {"features": "+sse2"}])
def test_another_cpu_does_not_find_it(change, folder, object_code):
    compiler._keep(IR, host(), object_code)
    assert compiler._kept(IR, dataclasses.replace(host(), **change)) is None


def test_another_version_of_llvm_does_not_find_it(folder, object_code, monkeypatch):
    compiler._keep(IR, host(), object_code)
    monkeypatch.setattr(compiler.binding, "llvm_version_info", (1, 2, 3))
    assert compiler._kept(IR, host()) is None


def test_other_code_of_the_same_name_does_not_find_it(folder, object_code):
    compiler._keep(IR, host(), object_code)
    assert compiler._kept(IR.replace("3\n", "4\n"), host()) is None


def test_every_kernel_and_width_has_its_own_file():
    def ir(host, batch, *, left_first):
        kernel = make_kernel(
            ((16, 16), (16, 16)), 1, 256, 256, "float32", batch, backward=False,
            left_first=left_first,
        )  # fmt: skip
        assert kernel
        return handler_ir(forward_handler(kernel), host)

    wide, narrow = host(), native.Host(32, 16, host().cpu, host().features)
    texts = [ir(h, 4, left_first=side) for h in (wide, narrow) for side in (True, False)]
    assert len(set(texts)) == (4 if wide.vector_bytes != 32 else 2)
    assert ir(wide, 4, left_first=True) == ir(wide, 99, left_first=True)


def test_a_file_in_the_place_of_the_folder_is_no_error(folder, object_code):
    folder.write_text("in the way")
    compiler._keep(IR, host(), object_code)
    assert compiler._kept(IR, host()) is None
    assert folder.read_text() == "in the way"


@pytest.mark.parametrize(
    ("module", "function", "number"),
    [
        (pathlib.Path, "write_bytes", errno.EACCES),  # a folder that may only be read
        (pathlib.Path, "mkdir", errno.EROFS),
        (pathlib.Path, "replace", errno.ENOSPC),
    ],
)
def test_a_folder_that_cannot_be_written_is_no_error_and_gets_no_litter(
    module, function, number, folder, object_code, monkeypatch
):
    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module, function, fail)
    compiler._keep(IR, host(), object_code)
    assert compiler._kept(IR, host()) is None
    assert not folder.exists() or list(folder.iterdir()) == []


def test_a_file_has_the_permissions_that_the_user_gives_new_files(folder, object_code):
    compiler._keep(IR, host(), object_code)
    (kept,) = folder.iterdir()
    (other := folder / "other").touch()
    assert kept.stat().st_mode == other.stat().st_mode


def test_a_cache_that_is_turned_off_gets_nothing(folder, object_code):
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        compiler._keep(IR, host(), object_code)
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    assert not folder.exists()


@pytest.mark.parametrize("place", [None, "", "gs://bucket/cache"])
def test_without_a_local_cache_nothing_is_written(place, object_code, monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", place)
    try:
        compiler._keep(IR, host(), object_code)
        assert compiler._kept(IR, host()) is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert not pathlib.Path("gs:").exists()
