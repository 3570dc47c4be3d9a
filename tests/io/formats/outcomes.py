"""What may come of a damaged file: a clear error or arrays of the declared shapes, and no more."""

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest

from minincep.io.errors import WeightError
from minincep.io.formats.stored import Stored

Reader = Callable[[Path], AbstractContextManager[dict[str, Stored]]]


@contextmanager
def little_memory(limit: int = 4 << 20) -> Iterator[None]:
    """Fail if more bytes than that are taken at a time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def outcome(reader: Reader, path: Path) -> WeightError | None:
    """Read all of a file that may be damaged."""
    failure = None
    with little_memory():
        try:
            with reader(path) as found:
                for stored in found.values():
                    try:
                        array = stored.read()
                        assert array.shape == stored.shape
                        assert array.dtype == np.float32
                    except WeightError as error:
                        failure = error
        except WeightError as error:
            failure = error
    assert failure is None or (str(path.parent) in str(failure) and "\n" not in str(failure))
    return failure


def cut_off(reader: Reader, whole: Path, path: Path, opened: Path | None = None) -> None:
    """A file that ends too early is refused wherever it ends."""
    content = whole.read_bytes()
    for part in range(20):
        path.write_bytes(content[: len(content) * part // 20])
        assert outcome(reader, opened or path) is not None, f"{part}/20 of the file"


def flipped(
    reader: Reader, whole: Path, path: Path, opened: Path | None = None, *, always: bool
) -> None:
    """A file with a wrong byte is refused, or gives arrays of the declared shapes."""
    content = whole.read_bytes()
    for number, at in enumerate(range(0, len(content), max(len(content) // 100, 1))):
        wrong = content[at] ^ (0x01, 0x80, 0xFF)[number % 3]
        path.write_bytes(content[:at] + bytes([wrong]) + content[at + 1 :])
        failure = outcome(reader, opened or path)
        assert failure is not None or not always, f"byte {at} is {wrong:#x}"


def refused(reader: Reader, path: Path, match: str) -> None:
    """All of a file is refused when it is opened, with a message that has this in it."""
    with little_memory(), pytest.raises(WeightError, match=match), reader(path):
        pass


def unreadable(reader: Reader, path: Path, name: str, match: str) -> None:
    """An array is refused when it is read."""
    with reader(path) as found, little_memory(), pytest.raises(WeightError, match=match):
        found[name].read()
