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
"""

import functools
import hashlib
import inspect
import os
import pickle
import platform
import stat
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import llvmlite
import numba
import numpy as np
import platformdirs
from numba.core import serialize
from numba.core.caching import CompileResultCacheImpl, _Cache

from minincep_kernels import machine

Mode = Literal["parallel", "serial"]


def kernel(function: Callable[..., None]) -> "Kernel":
    """Compile a function over C-contiguous arrays on first use; its `numba.prange` loops run in parallel."""
    return Kernel(function)


class Kernel:
    """A compiled function, in a parallel and a serial version that give the same numbers.

    Raises
    ------
    ValueError
        When called with an output that is not C-contiguous.  Inputs that are not are copied.
    """

    function: Callable[..., None]
    _dispatchers: dict[Mode, Any]

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        self._written = [name.startswith("out") for name in inspect.signature(function).parameters]
        self._dispatchers = {}
        functools.update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> None:
        prepared = [_prepare(*pair) for pair in zip(arguments, self._written, strict=True)]
        if machine.get_num_threads() == 1 or _threads.forked:
            self._dispatcher("serial")(*prepared)
        else:
            _threads.run(self._dispatcher("parallel"), *prepared)

    def _dispatcher(self, mode: Mode) -> Any:
        if mode not in self._dispatchers:
            dispatcher = numba.njit(
                nogil=True,  # other Python threads go on meanwhile
                error_model="numpy",  # division by zero gives inf or nan, as arrays do, no branch
                parallel=mode == "parallel",
            )(self.function)
            dispatcher._cache = DiskCache(self.function, mode)
            self._dispatchers[mode] = dispatcher
        return self._dispatchers[mode]


def _prepare(argument: Any, written: bool) -> Any:
    if not isinstance(argument, np.ndarray):
        return argument
    if written:
        if not argument.flags.c_contiguous:
            raise ValueError("a kernel's output must be C-contiguous")
        return argument
    read_only = np.ascontiguousarray(argument).view()
    read_only.flags.writeable = False
    return read_only


class _Threads:
    """Who may enter a parallel region: everybody, one at a time, or (in a forked child) nobody."""

    started = False
    forked = False

    def __init__(self) -> None:
        self.lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self.lock = threading.Lock()  # a thread that is not here any more may have held it
        self.forked = self.started

    def run(self, dispatcher: Any, *arguments: Any) -> None:
        # Numba's limit belongs to the calling Python thread, so it is set at every call.
        numba.set_num_threads(min(machine.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
        self.started = True
        if numba.threading_layer() == "workqueue":
            with self.lock:
                dispatcher(*arguments)
        else:
            dispatcher(*arguments)


_threads = _Threads()


class DiskCache(_Cache):  # type: ignore[misc]  # Numba has no types
    """Compiled kernels on disk, one file for each: function, mode, types, CPU and sources.

    No file is ever changed: the name is a hash of all that the content depends on.  Failing to
    read or to write one costs a compilation, never an error.
    """

    def __init__(self, function: Callable[..., None], mode: Mode) -> None:
        self._identity = (
            function.__module__,
            function.__qualname__,
            mode,
            numba.__version__,
            llvmlite.__version__,
            platform.python_implementation() + platform.python_version(),
            source_hash(Path(inspect.getfile(function))),
        )
        self._name = function.__qualname__
        self._compiled = _CompiledKernels()
        self._enabled = True

    @property
    def cache_path(self) -> str | None:
        folder = cache_folder()
        return folder and str(folder)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        target_context.refresh()
        path = self._path(signature, target_context.codegen())
        if path is None:
            return None
        try:
            return self._compiled.rebuild(target_context, pickle.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except Exception:  # a truncated or unreadable file raises nearly anything
            return None

    def save_overload(self, signature: Any, data: Any) -> None:
        path = self._path(signature, data.codegen)
        if path is None or not self._compiled.check_cachable(data):
            return
        content = serialize.dumps(self._compiled.reduce(data))
        try:
            write_whole(path, content)
        except OSError as error:
            _warn_once(f"compiled kernels cannot be kept on disk ({error})")

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def flush(self) -> None:
        """Nothing is held back."""

    def _path(self, signature: Any, codegen: Any) -> Path | None:
        folder = cache_folder()
        if folder is None or not self._enabled:
            return None
        key = repr((self._identity, str(signature), codegen.magic_tuple()))
        return folder / f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:32]}.kernel"


class _CompiledKernels(CompileResultCacheImpl):  # type: ignore[misc]
    """Numba's way to turn compiled code into data and back, without its search for a folder."""

    def __init__(self) -> None:
        pass


@functools.cache
def source_hash(extra: Path) -> str:
    """Hash of all files of this package, and of the file a kernel is in where that is another."""
    package = Path(__file__).parent
    sources = {*package.rglob("*.py"), extra.resolve()}
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(str(path.relative_to(package) if package in path.parents else path).encode())
        try:
            digest.update(path.read_bytes())
        except OSError:  # a function typed at a prompt has no file
            digest.update(os.urandom(16))
    return digest.hexdigest()


@functools.cache
def cache_folder() -> Path | None:
    """The first of these folders that can be written, or None.

    ``MININCEP_CACHE_DIR``, ``NUMBA_CACHE_DIR``, the user's cache folder, the temporary folder.
    """
    private = tempfile.gettempdir() + f"/minincep-{os.getuid() if hasattr(os, 'getuid') else ''}"
    wishes = [os.environ.get(name) for name in ("MININCEP_CACHE_DIR", "NUMBA_CACHE_DIR")]
    candidates = [*filter(None, wishes), platformdirs.user_cache_dir("minincep"), private]
    for candidate in candidates:
        folder = Path(candidate) / "kernels"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if candidate == private:
                _refuse_foreign(folder.parent)
            write_whole(folder / ".writable", b"")
        except OSError as error:
            _warn_once(f"compiled kernels cannot be kept in {folder} ({error})")
        else:
            return folder
    return None


def _refuse_foreign(folder: Path) -> None:
    """In a folder that everybody can write, somebody else may have been first, with code of theirs."""
    status = folder.lstat()
    owned = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    if not owned or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o022:
        raise PermissionError(f"{folder} could be written by somebody else")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, also while other processes write the same."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


_said: list[str] = []


def _warn_once(message: str) -> None:
    if _said:
        return
    _said.append(message)
    warnings.warn(
        f"{message}. Each new process may have to compile them again; set MININCEP_CACHE_DIR to a "
        "folder that can be written.",
        RuntimeWarning,
        stacklevel=2,
    )
