"""Programs as machine code: compiled once, kept on disk, and called without a compiler then.

Numba takes longer to load than a small network takes to answer, and more memory than its weights.
So a process that finds the code on disk links it with LLVM's linker (llvmlite), and never imports
Numba.
"""

import ctypes
import functools
import hashlib
import importlib
import importlib.metadata
import os
from typing import Any

import llvmlite.binding as llvm

from minincep_kernels.cache import (
    PACKAGE_HASH,
    cache_folder,
    folders,
    package_files,
    refuse_foreign,
    seal,
    source_hash,
    tell,
    unseal,
    warn_once,
    write_whole,
)


def target() -> list[str]:
    """What Numba compiles for: the kind of machine, the CPU, and what it can do."""
    cpu = os.environ.get("NUMBA_CPU_NAME")
    features = os.environ.get("NUMBA_CPU_FEATURES")
    if features is None:
        features = "" if cpu else llvm.get_host_cpu_features().flatten()
    return [llvm.get_default_triple(), cpu or llvm.get_host_cpu_name(), features]


@functools.cache
def key() -> str | None:
    """What the code depends on: sources, CPU, versions; None if the sources have been edited."""
    if PACKAGE_HASH is None or source_hash(package_files()) != PACKAGE_HASH:
        return None
    versions = [importlib.metadata.version(name) for name in ("numba", "llvmlite", "numpy")]
    named = {name: value for name, value in os.environ.items() if name.startswith("NUMBA_")}
    for changes_nothing in ("NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER", "NUMBA_CACHE_DIR"):
        named.pop(changes_nothing, None)
    content = repr((PACKAGE_HASH, versions, sorted(named.items()), target()))
    return hashlib.sha256(content.encode()).hexdigest()[:32]


@functools.cache
def function(name: str = "run") -> int:
    """The address of `run.run` or `learn.learn`, for any number of threads at once (`crew.run`)."""
    return _address(name)


def is_kept(name: str = "run") -> bool:
    """Whether the code is on disk."""
    return any((folder / _file(name)).is_file() for folder, _ in folders()) if key() else False


def _file(name: str) -> str:
    return f"{name}-{key()}.native"


def _address(name: str = "run") -> int:
    for folder, private in folders() if key() else ():
        try:
            if private:
                refuse_foreign(folder)
            start, _, kept = unseal((folder / _file(name)).read_bytes()).partition(b"\0")
        except (OSError, ValueError):  # no such file, or a damaged one
            continue
        return _linked(start.decode(), kept)
    tell(name, True)
    symbol, code, address = importlib.import_module(f"minincep_kernels.program.{name}").compiled()
    tell(name, False)
    target = cache_folder() if key() else None
    if target is not None:
        try:
            write_whole(target / _file(name), seal(symbol.encode() + b"\0" + code))
        except OSError as error:
            warn_once(f"compiled kernels cannot be kept on disk ({error})")
    found: int = address
    return found


_engines: list[Any] = []  # they hold the code


# Would take down an array in Numba's own memory; there is none.
_never_called = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)


def _linked(name: str, code: bytes) -> int:
    """Put an object file into memory: -> the address of a function in it."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    if llvm.address_of_symbol("NRT_MemInfo_call_dtor") is None:  # Numba is not here
        address = ctypes.cast(_never_called, ctypes.c_void_p).value
        llvm.add_symbol("NRT_MemInfo_call_dtor", address)
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    found: int = engine.get_function_address(name)
    return found
