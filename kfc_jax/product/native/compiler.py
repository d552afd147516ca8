"""From LLVM's IR to machine code, kept on disk, and known to XLA under the kernel's name.

Object code is kept in `kfc_jax_native` in JAX's compilation cache (`jax_compilation_cache_dir`),
where there is one. A file is found by a digest of the IR, the CPU with its features and the version
of LLVM, so that another CPU never finds it; it is written whole or not at all, and its content is
checked before it is run.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import threading
import uuid
from pathlib import Path
from typing import Any

import jax
from llvmlite import binding

from kfc_jax.product.native.host import Host

_FOLDER = "kfc_jax_native"
_lock = threading.Lock()
_names: set[str] = set()  # of handlers that XLA knows


def register(name: str, ir: str, host: Host) -> None:
    """Compiles a handler, and registers it with XLA under its name, which happens once.

    Several threads may lower programs with the same kernel at the same time.

    Raises:
      RuntimeError: if LLVM refuses the code.
    """
    with _lock:
        if name in _names:  # XLA refuses a name that it knows
            return
        engine = _engine(host)
        object_code = _kept(ir, host)
        if object_code is None:
            object_code = _compile(ir, host)
            _keep(ir, host, object_code)
        engine.add_object_file(binding.object_file.ObjectFileRef.from_data(object_code))
        engine.finalize_object()
        address = engine.get_function_address(name)
        if not address:
            raise RuntimeError(f"LLVM made no function {name}.")
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(_pointer(address)), platform="cpu")
        _names.add(name)


def assembly(ir: str, host: Host) -> str:
    """Returns the assembly of a module, for those who want to read it."""
    machine = _machine(host)
    return machine.emit_assembly(_optimised(ir, machine))


def _compile(ir: str, host: Host) -> bytes:
    machine = _machine(host)
    return machine.emit_object(_optimised(ir, machine))


def _optimised(ir: str, machine: Any) -> Any:
    module = binding.parse_assembly(ir)
    module.verify()
    options = binding.create_pipeline_tuning_options(speed_level=2)
    # LLVM's own vectorisers and unroller would take the tiles apart.
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    builder = binding.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module


@functools.cache
def _machine(host: Host) -> Any:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple()
    return target.create_target_machine(cpu=host.cpu, features=host.features, opt=3, jit=True)


@functools.cache
def _engine(host: Host) -> Any:
    # The engine owns the machine that it is made with.
    _machine(host)
    target = binding.Target.from_default_triple()
    machine = target.create_target_machine(cpu=host.cpu, features=host.features, opt=3, jit=True)
    return binding.create_mcjit_compiler(binding.parse_assembly(""), machine)


def _pointer(address: int) -> Any:
    import ctypes

    return ctypes.cast(address, ctypes.c_void_p)


def _place(ir: str, host: Host) -> Path | None:
    # Flags of JAX, which its types do not know.
    folder = getattr(jax.config, "jax_compilation_cache_dir", None)
    is_used = getattr(jax.config, "jax_enable_compilation_cache", True)
    if not folder or "://" in str(folder) or not is_used:
        return None
    key = "\n".join([host.cpu, host.features, repr(binding.llvm_version_info), ir])
    return Path(folder) / _FOLDER / f"{hashlib.sha256(key.encode()).hexdigest()}.o"


def _kept(ir: str, host: Host) -> bytes | None:
    """Returns the object code on disk; None where there is none, or a damaged one."""
    place = _place(ir, host)
    if place is None:
        return None
    try:
        content = place.read_bytes()
    except OSError:
        return None
    digest, object_code = content[:32], content[32:]
    return object_code if hashlib.sha256(object_code).digest() == digest else None


def _keep(ir: str, host: Host, object_code: bytes) -> None:
    """Writes object code to disk; a disk that cannot be written to is no error."""
    place = _place(ir, host)
    if place is None:
        return
    temporary = place.with_name(f"{place.name}.{uuid.uuid4().hex}")  # with the user's permissions
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(hashlib.sha256(object_code).digest() + object_code)
        temporary.replace(place)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
