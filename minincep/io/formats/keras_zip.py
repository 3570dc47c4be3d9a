"""Keras 3 models, `.keras`: a zip file of which only `model.weights.h5` is read.

The description of the model beside it, `config.json`, names classes and functions to import; it is
never looked at.
"""

import contextlib
import io
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import h5py

from minincep.io.errors import WeightError
from minincep.io.formats import keras_h5, keras_v3
from minincep.io.formats.source import Span, opened, reading
from minincep.io.formats.stored import Stored, check_size
from minincep.io.formats.zip_records import Record, records
from minincep.io.hdf5_heaps import check_heaps

WEIGHTS = "model.weights.h5"
PIECE = 1 << 20  # bytes that are in memory twice
INFLATION = 16  # times that weights may be larger than their compressed form


@contextmanager
def arrays(path: Path) -> Iterator[dict[str, Stored]]:
    """Arrays by layer and kind, such as ``conv2d_8/kernel``; none of them read.

    Weights that are compressed are inflated first, into a file without a name.

    Raises
    ------
    WeightError
        If the file is missing or damaged, holds no weights in HDF5, or far more than it can.
    """
    with opened(path) as source:
        record = records(source).get(WEIGHTS)
        if record is None:
            raise WeightError(f"{path}: no model of Keras 3, which has one record {WEIGHTS}")
        with _content(path, record) as file:
            check_heaps(path, file)
            with keras_h5.reading(path):
                weights = h5py.File(file, "r")
            with weights:
                with keras_h5.reading(path):
                    found = keras_v3.inside(path, weights)
                check_size(path, found.values())
                yield found


def _content(path: Path, record: Record) -> BinaryIO:
    """The content of a record as a file."""
    if not record.deflated:
        record.check()
        return io.BufferedReader(Part(record.span))
    if record.size > INFLATION * len(record.span):
        raise WeightError(
            f"{path}: {record.name} claims {record.size:,} bytes, far more than it can hold"
        )
    with contextlib.ExitStack() as undo, reading(path):
        file = undo.enter_context(tempfile.TemporaryFile())
        found = written = 0
        for content in inflated(record.span):
            found, written = zlib.crc32(content, found), written + len(content)
            if written > record.size:
                break
            file.write(content)
        if written != record.size:
            raise WeightError(f"{path}: {record.name} is not as long as it claims to be")
        record.compare(found)
        undo.pop_all()
    return file


def inflated(span: Span) -> Iterator[bytes]:
    """What was compressed, piece by piece.

    Raises
    ------
    WeightError
        If it is damaged.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for piece in span.pieces():
        left, content = piece, b"-"
        while (left or content) and not inflater.eof:
            try:
                content = inflater.decompress(left, PIECE)
            except zlib.error as error:
                raise span.source.damaged(span.start, f"{error}") from None
            yield content
            left = inflater.unconsumed_tail


class Part(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, span: Span) -> None:
        self._span, self._at = span, 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        self._at = (
            offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._span)}[whence]
        )
        return self._at

    def tell(self) -> int:
        """Where it is."""
        return self._at

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def seekable(self) -> bool:
        """It can go to a place."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill some of a buffer from there, as far as the part goes."""
        wanted = min(len(buffer), PIECE, max(len(self._span) - self._at, 0))
        content = self._span.source.read(self._span.start + self._at, wanted)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)
