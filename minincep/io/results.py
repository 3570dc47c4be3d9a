"""Result files that grow picture by picture, and that an interrupted run can go on with."""

import csv
import io
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np

from minincep.io.errors import ResultError
from minincep.io.files import NewFile, writing
from minincep.io.hdf5 import COMPRESSION, datasets, open_file
from minincep.io.text import table
from minincep_kernels import Array

IMAGES = "images"


class CsvResults:
    """A CSV file with a line for each picture, the picture's name first.

    Lines are appended whole and reach the disk batch by batch, so whatever ends the run, the
    file holds what was done.  A last line that was cut off is dropped when the run goes on.

    Attributes
    ----------
    done
        Names of the pictures that the file has already.

    Raises
    ------
    ResultError
        If the file is there and `resume` is false, or it has other columns.
    OSError
        If it cannot be written.
    """

    done: set[str]

    def __init__(self, path: Path, columns: Sequence[str], *, resume: bool) -> None:
        self.done = set()
        header = table([[IMAGES.removesuffix("s"), *columns]])
        if _is_old(path, resume):
            self._read(path, header)
        self._path = path
        with writing(path):
            self._file = path.open("a", encoding="utf-8", newline="", errors="surrogateescape")
        if self._file.tell() == 0:
            self._file.write(header)

    def _read(self, path: Path, header: str) -> None:
        content = path.read_bytes()
        whole = content[: _end_of_whole(content)]
        lines = whole.decode("utf-8", errors="surrogateescape")
        if lines and not lines.startswith(header):
            raise ResultError(f"{path} has other columns than {header.strip()}: give a new file")
        rows = csv.reader(io.StringIO(lines.removeprefix(header), newline=""))
        try:
            self.done = {row[0].removeprefix("./") for row in rows if row}  # as `table` has it
        except csv.Error as error:
            raise ResultError(
                f"{path} is no table of minincep ({error}): give a new file"
            ) from None
        if len(whole) < len(content):
            with writing(path):
                os.truncate(path, len(whole))

    def add(self, rows: Sequence[Sequence[object]]) -> None:
        """Append lines, the picture's path first in each."""
        with writing(self._path):
            self._file.write(table(rows))
            self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with writing(self._path):
            self._file.close()


def _end_of_whole(content: bytes) -> int:
    """Where the last whole line ends; a line break between quotes ends none."""
    end = position = quotes = 0
    for part in io.BytesIO(content):
        position += len(part)
        quotes += part.count(b'"')
        if part.endswith(b"\n") and quotes % 2 == 0:
            end = position
    return end


class ArrayResults:
    """An HDF5 file with `images`, the names, and arrays that have a row for each of them.

    It is written beside its place and moved there when the `with` block ends, also by an
    interruption: what is at its place is always whole.

    Attributes
    ----------
    done
        Names of the pictures that the file has already.

    Raises
    ------
    ResultError
        If the file is there and `resume` is false, or it is not such a file.
    OSError
        If it cannot be written.
    """

    done: set[str]

    def __init__(self, path: Path, *, resume: bool) -> None:
        self.done = set()
        old = _is_old(path, resume)
        if old:
            self.done = _stored_names(path)
        self._new = NewFile(path)
        try:
            if old:
                with path.open("rb") as content:
                    shutil.copyfileobj(content, self._new)
                self._new.check()
            self._file = self._new.run(self._new.hdf5, "r+" if old else "w")
        except BaseException:
            self._new.discard()
            raise

    def add(self, names: Sequence[str], arrays: Mapping[str, Array]) -> None:
        """Append rows: for each array (N, ...) one row for each of the N names.

        Raises
        ------
        ResultError
            If the file goes on from rows of another shape, or other arrays.
        OSError
            If they cannot be written.
        """
        self._new.run(self._add, names, arrays)

    def _add(self, names: Sequence[str], arrays: Mapping[str, Array]) -> None:
        text = h5py.string_dtype()
        for key, rows in [
            *arrays.items(),
            (IMAGES, np.array([n.encode(errors="surrogateescape") for n in names], object)),
        ]:
            kind = text if key == IMAGES else rows.dtype
            if key not in self._file:
                if self.done:
                    raise ResultError(f"{self._new.path} has no {key}: give a new file")
                empty, unbounded = (0, *rows.shape[1:]), (None, *rows.shape[1:])
                self._file.create_dataset(key, empty, kind, maxshape=unbounded, chunks=True)
            stored = self._file[key]
            if stored.shape[1:] != rows.shape[1:]:
                raise ResultError(
                    f"{self._new.path}: {key} has rows of shape {stored.shape[1:]}, not "
                    f"{rows.shape[1:]}: give a new file"
                )
            stored.resize(len(stored) + len(rows), axis=0)
            stored[-len(rows) :] = rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        whole = kind is None or issubclass(kind, KeyboardInterrupt | SystemExit)
        try:
            self._new.run(self._file.close)
        except BaseException:
            self._new.discard()
            raise
        if whole:
            self._new.finish()
        else:
            self._new.discard()


def _stored_names(path: Path) -> set[str]:
    """Names of the pictures in a file that `ArrayResults` wrote."""
    with open_file(path) as file:
        names = datasets(path, file).get(IMAGES)  # refuses links to other places
        if (
            names is None
            or names.ndim != 1
            or h5py.check_string_dtype(names.dtype) is None
            or names.nbytes > COMPRESSION * path.stat().st_size
            or any(not isinstance(stored, h5py.Dataset) for stored in file.values())
        ):
            raise ResultError(f"{path} holds no results of minincep: give a new file")
        return {name.decode(errors="surrogateescape") for name in names[()]}


def _is_old(path: Path, resume: bool) -> bool:
    """Whether there is a file to go on with."""
    with writing(path):
        there = path.exists()
    if there and not path.is_file():
        raise ResultError(f"{path} is not a file")
    if there and not resume:
        raise ResultError(f"{path} is there already: --resume goes on with it")
    return there


def write_npy(path: Path, array: Array) -> None:
    """Write a .npy file, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    with NewFile(path) as new:
        np.save(new, array)
