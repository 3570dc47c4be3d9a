"""The only place where kernels meet Numba: compiler flags, the cache on disk, threads and forks.

A kernel is a plain function over arrays.  `@kernel` compiles it when it is first called, once for
each type of number, and guards the four ways in which Numba can fail a user:

- *A cache that cannot be written* must not stop anybody: another folder is taken, or none.
- *A stale cache* is wrong code that looks right: Numba notices an edit in the kernel's own file,
  but not in a file that it calls.  Here the key holds a hash of all kernel sources.
- *Two Python threads* inside a parallel kernel abort the process on Numba's workqueue threading
  layer: a lock lets one in at a time there.
- *A forked child* is killed when it enters GNU OpenMP: it runs the same kernels serially.

A kernel writes only to parameters whose names start with ``out``.  All others are read-only to
the compiler, so that one compiled version serves arrays that are read-only and arrays that are
not, and writing to an input is a compile error.  The index of a `numba.prange` loop is unsigned,
and unsigned with signed makes a float: kernels that calculate with it write `np.int64(index)`.
Constants in a kernel come from the sources or from the CPU, never from the environment.
"""

import contextlib
import functools
import hashlib
import inspect
import os
import pickle
import platform
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import llvmlite
import numba
import numpy as np
from numba.core import serialize
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import register_jitable

from minincep_kernels import machine
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

Mode = Literal["parallel", "serial"]


_Function = TypeVar("_Function", bound=Callable[..., Any])


def inlined(function: _Function) -> _Function:
    """Let kernels call a function; it is compiled into each kernel that does."""
    result: _Function = register_jitable(function)
    return result


def kernel(function: Callable[..., None]) -> "Kernel":
    """Compile a function over arrays on first use; its `numba.prange` loops run in parallel."""
    return Kernel(function)


class Kernel:
    """A compiled function, in a parallel and a serial version that give the same numbers.

    Raises
    ------
    TypeError
        When made from a function that closes over more than numbers and text.
    ValueError
        When called with an output that is not C-contiguous, or read-only.  Inputs that are not
        C-contiguous are copied.
    """

    function: Callable[..., None]
    _dispatchers: dict[Mode, Any]

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        self._written = [name.startswith("out") for name in inspect.signature(function).parameters]
        self._origin = Origin(function)
        self._dispatchers = {}
        functools.update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> None:
        prepared = [_prepare(*pair) for pair in zip(arguments, self._written, strict=True)]
        if machine.get_num_threads() == 1 or _threads.forked:
            self._dispatcher("serial")(*prepared)
        else:
            _threads.run(self._dispatcher("parallel"), *prepared)

    def serial(self, *arguments: Any) -> None:
        """Call the serial version, however many threads there are: for a kernel that shares out
        its work by itself.  Any number of Python threads may be in it.
        """
        prepared = [_prepare(*pair) for pair in zip(arguments, self._written, strict=True)]
        self._dispatcher("serial")(*prepared)

    def _dispatcher(self, mode: Mode) -> Any:
        if mode not in self._dispatchers:
            dispatcher = numba.njit(
                nogil=True,  # other Python threads go on meanwhile
                error_model="numpy",  # division by zero gives inf or nan, as arrays do, no branch
                parallel=mode == "parallel",
            )(self.function)
            dispatcher._cache = DiskCache(self._origin, mode)
            self._dispatchers[mode] = dispatcher
        return self._dispatchers[mode]


def _prepare(argument: Any, written: bool) -> Any:
    if not isinstance(argument, np.ndarray):
        return argument
    flags = argument.flags
    kept = flags.c_contiguous and flags.aligned
    if written:
        if not (kept and flags.writeable):
            raise ValueError("a kernel's output must be C-contiguous, aligned and writeable")
        return argument
    if kept and not flags.writeable and type(argument) is np.ndarray:
        return argument
    read_only = argument.view(np.ndarray) if kept else np.array(argument, order="C")
    read_only.flags.writeable = False
    return read_only


class _Threads:
    """Who may enter a parallel region: everybody, one at a time, or (in a forked child) nobody."""

    started = False
    forked = False

    def __init__(self) -> None:
        # Held also while a signal handler runs, which may call a kernel: hence re-entrant.
        self.lock = threading.RLock()
        self.calling = threading.local()
        if hasattr(os, "register_at_fork"):
            # No thread is compiling while the process forks: the child would wait for it forever.
            os.register_at_fork(
                before=global_compiler_lock.acquire,
                after_in_parent=global_compiler_lock.release,
                after_in_child=self._after_fork,
            )

    def _after_fork(self) -> None:
        global_compiler_lock.release()
        try:
            numba.threading_layer()
        except ValueError:  # nobody in the parent has started Numba's threads
            self.forked = self.started
        else:
            self.forked = True

    def run(self, dispatcher: Any, *arguments: Any) -> None:
        if not self.started:
            self.started = True
            with _quiet_openmp():
                numba.set_num_threads(1)  # starts the threads
        # Numba's limit belongs to the calling Python thread.
        threads = min(machine.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
        if getattr(self.calling, "threads", None) != threads:
            numba.set_num_threads(threads)
            self.calling.threads = threads
        if numba.threading_layer() == "workqueue":
            with self.lock:
                dispatcher(*arguments)
        else:
            dispatcher(*arguments)


@contextlib.contextmanager
def _quiet_openmp() -> Iterator[None]:
    """Let waiting threads of GNU OpenMP, if it is loaded within, soon sleep, unless the user chose.

    They would spin, and take the cores from those whose turn it is: the BLAS, or the helpers of
    `program.crew`.  A short while is enough for the next kernel, which mostly follows at once.
    """
    names = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "20000"}
    if any(name in os.environ for name in names):
        yield
        return
    os.environ.update(names)
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)


_threads = _Threads()


def has_threads() -> bool:
    """Whether OpenMP's threads of Numba have started, in this process."""
    if not _threads.started or _threads.forked:
        return False
    try:
        return bool(numba.threading_layer() == "omp")
    except ValueError:  # another Python thread is just starting them
        return False


class Origin:
    """What the code of a kernel depends on, as it was when the kernel was imported.

    Edit a source while a process runs, and what that process compiles is not what is on disk any
    more: from then on `key` is None, and it neither reads nor writes the cache.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        values = [cell.cell_contents for cell in function.__closure__ or ()]
        if not all(isinstance(value, int | float | str) for value in values):
            raise TypeError(f"{function.__qualname__} closes over more than numbers and text")
        self.name = function.__name__
        self._file = Path(inspect.getfile(function))
        self._hashes = (PACKAGE_HASH, source_hash([self._file]))
        line = function.__code__.co_firstlineno  # one name can be defined twice in a file
        self._function = (function.__module__, function.__qualname__, line, values)

    def key(self) -> object | None:
        if None in self._hashes or self._hashes != (
            source_hash(package_files()),
            source_hash([self._file]),
        ):
            return None
        return (self._function, self._hashes)


# Settings of Numba by environment variable that change the code it makes.
_OPTIONS = (
    "OPT",
    "BOUNDSCHECK",
    "DEBUGINFO_DEFAULT",
    "LOOP_VECTORIZE",
    "SLP_VECTORIZE",
    "USING_SVML",
)


class DiskCache(_Cache):  # type: ignore[misc]  # Numba has no types
    """Compiled kernels on disk, one file for each: function, mode, types, CPU and sources.

    No file is ever changed: the name is a hash of all that the content depends on.  Failing to
    read or to write one costs a compilation, never an error.
    """

    cache_path = ""  # asked for by Numba's statistics only

    def __init__(self, origin: Origin, mode: Mode) -> None:
        self._origin = origin
        self._mode = mode
        self._enabled = True

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        target_context.refresh()
        name = self._file_name(signature, target_context.codegen())
        for folder, private in folders() if name else ():
            try:
                if private:
                    refuse_foreign(folder)
                content = unseal((folder / name).read_bytes())
                return CompileResult._rebuild(target_context, *pickle.loads(content))
            except Exception:  # no such file, or a damaged one, which raises nearly anything
                continue
        tell(self._origin.name, True)
        return None

    def save_overload(self, signature: Any, data: Any) -> None:
        tell(self._origin.name, False)
        name = self._file_name(signature, data.codegen)
        folder = cache_folder() if name else None
        if folder is None:
            return
        try:
            if data.library.has_dynamic_globals:
                raise OSError(f"{self._origin.name} holds addresses of this process")
            write_whole(folder / name, seal(serialize.dumps(data._reduce())))
        except Exception as error:  # the disk, or a Numba that keeps its code in another way
            warn_once(f"compiled kernels cannot be kept on disk ({error})")

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def flush(self) -> None:
        """Nothing is held back."""

    def _file_name(self, signature: Any, codegen: Any) -> str:
        origin = self._origin.key()
        if origin is None or not self._enabled:
            return ""
        options = [getattr(numba.config, name, None) for name in _OPTIONS]
        versions = [numba.__version__, llvmlite.__version__, np.__version__]
        versions += [platform.python_implementation(), platform.python_version()]
        key = repr((origin, self._mode, str(signature), codegen.magic_tuple(), options, versions))
        return f"{self._origin.name}-{hashlib.sha256(key.encode()).hexdigest()[:32]}.kernel"
