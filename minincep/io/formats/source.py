"""Parts of a file, by position: read when they are wanted, and never past their end."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from minincep.io.errors import WeightError

MOST_FIELDS = 1_000_000  # of all messages of a file: a graph of 10,000 nodes has a tenth of them
LONGEST_TEXT = 4096


class Source:
    """A file to read parts of.

    Attributes
    ----------
    path
        For messages.
    size
        In bytes.
    fields_left
        How many more fields of messages may be read, so that no file keeps us busy without end.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        with reading(path):
            self.size = file.seek(0, os.SEEK_END)
        self.fields_left = MOST_FIELDS

    def whole(self) -> "Span":
        """All of it."""
        return Span(self, 0, self.size)

    def read(self, start: int, length: int) -> bytes:
        """Up to so many bytes; fewer at the end of the file."""
        with reading(self.path):
            self._file.seek(start)
            return self._file.read(length)

    def damaged(self, at: int, reason: str) -> WeightError:
        """An error that says where the file is damaged."""
        return WeightError(f"{self.path}: damaged at byte {at:,}: {reason}; get the file again")


@dataclass(frozen=True)
class Span:
    """The part of a file from byte `start` up to byte `stop`."""

    source: Source
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def part(self, start: int, length: int) -> "Span":
        """So many bytes of it from the file's byte `start` on.

        Raises
        ------
        WeightError
            If they are not all in it.
        """
        if not (self.start <= start and 0 <= length <= self.stop - start):
            raise self.source.damaged(
                start, f"{length:,} bytes should follow, where {max(self.stop - start, 0):,} are"
            )
        return Span(self.source, start, start + length)

    def pieces(self, length: int = 1 << 20) -> Iterator[bytes]:
        """All of it, piece by piece, so that little is in memory at a time.

        Raises
        ------
        WeightError
            If the file ends before.
        """
        for start in range(self.start, self.stop, length):
            wanted = min(length, self.stop - start)
            piece = self.source.read(start, wanted)
            if len(piece) != wanted:
                raise self.source.damaged(start, "the file ends here")
            yield piece

    def content(self, limit: int) -> bytes:
        """All of it at once, if it is not longer than it may be.

        Raises
        ------
        WeightError
            If it is, or the file ends before.
        """
        if len(self) > limit:
            raise self.source.damaged(
                self.start, f"{len(self):,} bytes, where at most {limit:,} make sense"
            )
        return b"".join(self.pieces())

    def text(self) -> str:
        """The text that it is.

        Raises
        ------
        WeightError
            If it is too long, or no text.
        """
        try:
            return self.content(LONGEST_TEXT).decode()
        except UnicodeDecodeError:
            raise self.source.damaged(self.start, "there should be text") from None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Source]:
    """Open a file for reading.

    Raises
    ------
    WeightError
        If it is missing, no ordinary file, or may not be read.
    """
    with reading(path):  # a name may be too long to look for
        if not path.is_file():
            missing = "is no ordinary file" if path.exists() else "there is no such file"
            reason = "is a folder" if path.is_dir() else missing
            raise WeightError(f"{path}: {reason}")
        file = path.open("rb")
    with file:
        yield Source(path, file)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say of a failure which file cannot be read."""
    try:
        yield
    except OSError as error:
        raise WeightError(f"{path} cannot be read: {error.strerror or error}") from None
