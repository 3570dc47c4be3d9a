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
import stat
import tempfile
import threading
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import llvmlite
import numba
import numpy as np
import platformdirs
from numba.core import serialize
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock

from minincep_kernels import machine

Mode = Literal["parallel", "serial"]


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
        its work by itself.  Any number of Python threads may be in it."""
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
    if written:
        if not (flags.c_contiguous and flags.aligned and flags.writeable):
            raise ValueError("a kernel's output must be C-contiguous, aligned and writeable")
        return argument
    kept = flags.c_contiguous and flags.aligned
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
        # Numba's limit belongs to the calling Python thread, so it is set at every call.
        numba.set_num_threads(min(machine.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
        if numba.threading_layer() == "workqueue":
            with self.lock:
                dispatcher(*arguments)
        else:
            dispatcher(*arguments)


@contextlib.contextmanager
def _quiet_openmp() -> Iterator[None]:
    """Let GNU OpenMP, if it is loaded within, put waiting threads to sleep, unless the user chose.

    Otherwise they spin, and take the cores from the BLAS whose turn it is.
    """
    name = "OMP_WAIT_POLICY"
    if name in os.environ:
        yield
        return
    os.environ[name] = "passive"
    try:
        yield
    finally:
        del os.environ[name]


_threads = _Threads()


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
        self._hashes = (_package_hash, source_hash([self._file]))
        line = function.__code__.co_firstlineno  # one name can be defined twice in a file
        self._function = (function.__module__, function.__qualname__, line, values)

    def key(self) -> object | None:
        if None in self._hashes or self._hashes != (
            source_hash(_package_files()),
            source_hash([self._file]),
        ):
            return None
        return (self._function, self._hashes)


def source_hash(files: Iterable[Path]) -> str | None:
    """Hash of these files, or None if they cannot be read: typed at a prompt, or in a zip."""
    digest = hashlib.sha256()
    for path in files:
        try:
            digest.update(os.fsencode(path.name) + b"\0" + path.read_bytes() + b"\0")
        except OSError:
            return None
    return digest.hexdigest()


def _package_files() -> list[Path]:
    return sorted(Path(__file__).parent.rglob("[!.]*.py"))


_package_hash = source_hash(_package_files())


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
        for folder, private in _folders() if name else ():
            try:
                if private:
                    _refuse_foreign(folder)
                content = _unseal((folder / name).read_bytes())
                return CompileResult._rebuild(target_context, *pickle.loads(content))
            except Exception:  # no such file, or a damaged one, which raises nearly anything
                continue
        return None

    def save_overload(self, signature: Any, data: Any) -> None:
        name = self._file_name(signature, data.codegen)
        folder = cache_folder() if name else None
        if folder is None:
            return
        try:
            if data.library.has_dynamic_globals:
                raise OSError(f"{self._origin.name} holds addresses of this process")
            write_whole(folder / name, _seal(serialize.dumps(data._reduce())))
        except Exception as error:  # the disk, or a Numba that keeps its code in another way
            _warn_once(f"compiled kernels cannot be kept on disk ({error})")

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


def _seal(content: bytes) -> bytes:
    return hashlib.sha256(content).digest() + content


def _unseal(sealed: bytes) -> bytes:
    """What was sealed, if it is whole: a flipped bit of machine code would crash the process."""
    content = sealed[32:]
    if _seal(content) != sealed:
        raise ValueError("damaged")
    return content


@functools.cache
def _folders() -> list[tuple[Path, bool]]:
    """Where compiled kernels may lie, best first, and whether only this user may write there."""
    named = [os.environ.get(name) for name in ("MININCEP_CACHE_DIR", "NUMBA_CACHE_DIR")]
    folders = [(Path(name, "kernels").absolute(), False) for name in named if name]
    try:
        user = Path(platformdirs.user_cache_dir("minincep"), "kernels")
    except RuntimeError:  # there is no home
        pass
    else:
        if user.is_absolute():  # older platformdirs leave "~" where there is no home
            folders.append((user, True))
    try:
        name = f"minincep-kernels-{os.getuid() if hasattr(os, 'getuid') else ''}"
        folders.append((Path(tempfile.gettempdir(), name).absolute(), True))
    except FileNotFoundError:
        pass
    return folders


@functools.cache
def cache_folder() -> Path | None:
    """Where new kernels are kept: the first of these folders that can be written, or None.

    ``MININCEP_CACHE_DIR``, ``NUMBA_CACHE_DIR``, the user's cache folder, the temporary folder.
    Kernels are read from all of them, so that a folder filled beforehand may be read-only.
    """
    for folder, private in _folders():
        try:
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            if private:
                _refuse_foreign(folder)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError as error:
            _warn_once(f"compiled kernels cannot be kept in {folder} ({error})")
    return None


def _refuse_foreign(folder: Path) -> None:
    """Reading a kernel runs it: take none from a folder that somebody else can write."""
    status = folder.lstat()
    owned = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    if not owned or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o022:
        raise PermissionError(f"{folder} could be written by somebody else")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, also while other processes write the same."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
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
