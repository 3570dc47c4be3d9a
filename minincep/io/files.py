"""Files that are written: at their place whole or not at all, and clear about failures."""

import contextlib
import errno
import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

import h5py

P = ParamSpec("P")
T = TypeVar("T")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say of a failure which file cannot be written, why, and what to do."""
    try:
        yield
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        if missing and not path.parent.is_dir():
            reason = f"{path.parent} is not a folder; make it first"
        elif error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            reason = f"{error.strerror}; make room, or choose another place"
        else:
            reason = f"{error.strerror}; choose another place"
        clear = type(error)(f"{path} cannot be written: {reason}")
        clear.errno = error.errno
        raise clear from None


class NewFile:
    """A file that is written beside its place and moved there when it is whole.

    HDF5 crashes when it cannot write what it must while a file is closed.  So it writes through
    this (`hdf5`) and hears of no failure, such as a full disk; `check` and `finish` raise it.  And
    it works in a thread (`run`), for an interruption, which reaches only the main one, would be a
    failure, too, or leave half of what belongs together.

    Parameters
    ----------
    durable
        Bring the file to the disk before it is moved: then it is whole after a power failure, too.

    Raises
    ------
    OSError
        If it cannot be written.  Nothing of it is left then, and an old file is as it was.
    """

    def __init__(self, path: Path, *, durable: bool = False) -> None:
        self.path = path
        self._durable = durable
        self._target = Path(os.path.realpath(path))  # a link to a file stays one
        self._part = self._target.with_name(f".{self._target.name}.{uuid.uuid4().hex}")
        self._failure: OSError | None = None
        self._lost: list[tuple[int, bytes]] = []  # where, what: HDF5 crashes without it, too
        with writing(path):
            special = self._target.exists() and not self._target.is_file()
        if special and not self._target.is_dir():  # such as a device: it would be replaced
            raise FileExistsError(
                f"{path} cannot be written: it is no ordinary file; choose another place"
            )
        self._thread = ThreadPoolExecutor(1, "writer")
        with writing(path):
            self._file = self._part.open("x+b", buffering=0)
        self.seek, self.tell, self.flush = self._file.seek, self._file.tell, self._file.flush

    def hdf5(self, mode: str) -> h5py.File:
        """The file as one of HDF5, to be closed before this one is finished."""
        return h5py.File(self.path, mode, driver="fileobj", fileobj=self)

    def run(self, task: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Do something with the HDF5 file that is not to be interrupted."""
        try:
            return self._thread.submit(task, *args, **options).result()
        finally:
            self.check()  # what HDF5 makes of a failure says less

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer with what was written, whether or not that failed."""
        first, rest = self.tell(), memoryview(buffer)
        with self._remembered():
            while rest and (count := self._file.readinto(rest)):
                rest = rest[count:]
        rest[:] = bytes(len(rest))
        for start, content in self._lost:
            low, high = max(first, start), min(first + len(buffer), start + len(content))
            if low < high:
                memoryview(buffer)[low - first : high - first] = content[low - start : high - start]
        return len(buffer)

    def write(self, content: bytes | memoryview) -> int:
        """Write all of it; after a failure, to memory."""
        start, rest = self.tell(), memoryview(content)
        with self._remembered():
            while rest and not self._failure:
                rest = rest[self._file.write(rest) :]
        if self._failure:
            self._lost.append((start, bytes(content)))
        return len(content)

    def truncate(self, size: int) -> int:
        """Give the file a length."""
        with self._remembered():
            self._file.truncate(size)
        return size

    @contextlib.contextmanager
    def _remembered(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failure = error

    def check(self) -> None:
        """Raise what has failed, if anything has."""
        if self._failure:
            with writing(self.path):
                raise self._failure

    def finish(self) -> None:
        """Move the file to its place."""
        try:
            self._thread.shutdown()
            self.check()
            with writing(self.path):
                if self._durable:
                    os.fsync(self._file.fileno())
                self._file.close()
                os.replace(self._part, self._target)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Leave nothing of it."""
        self._part.unlink(missing_ok=True)
        self._thread.shutdown()
        with contextlib.suppress(OSError):
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.discard()
