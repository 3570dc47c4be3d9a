"""Checkpoints: one HDF5 file from which a training goes on as if nothing had happened.

    /                       attributes: format, format_version, sha256
    /header                 all that is no array, as JSON
    /arrays/<group>/<path>  network, optimizer, average, ...: in their own types, to the last bit

It is written beside its place, brought to the disk, and moved there: whatever ends the program or
the machine, what is at its place is whole.  It is only ever read as data, like a weights file.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from minincep.io.errors import WeightError
from minincep.io.files import NewFile, writing
from minincep.io.hdf5 import attribute, check_names, check_size, datasets, open_file, reading
from minincep.io.text import printable
from minincep.train.data import DataSet
from minincep_kernels import Array

FORMAT = "minincep-checkpoint"
VERSION = 1

T = TypeVar("T")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes
    ----------
    path
        Where it was read.
    header
        ``run`` (what is trained, how), ``state`` (how far it is), and notes.
    arrays
        By group and path.
    """

    path: Path
    header: dict[str, Any]
    arrays: dict[str, Array]

    def part(self, group: str, like: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """The arrays of a group, by their own names.

        Raises
        ------
        WeightError
            If names, shapes or types are not those of `like`.
        """
        start = f"{group}/"
        arrays = {k.removeprefix(start): v for k, v in self.arrays.items() if k.startswith(start)}
        if like is not None:
            stored = {name: array.shape for name, array in arrays.items()}
            check_names(str(self.path), stored, {name: a.shape for name, a in like.items()})
            for name, array in arrays.items():
                if array.dtype != like[name].dtype:
                    raise WeightError(
                        f"{self.path}: {name} is {array.dtype}, should be {like[name].dtype}"
                    )
        return arrays

    def state(self, kind: type[T]) -> T:
        """How far it is, as a class of numbers, whose fields are the names of the header.

        Raises
        ------
        WeightError
            If the names are others, or a value is not of the kind of its default, or below 0.
        """
        try:
            state, usual = kind(**self.header["state"]), vars(kind())
        except TypeError as error:
            raise WeightError(f"{self.path}: the state of the run is damaged ({error})") from None
        for name, value in vars(state).items():
            if type(value) is not type(usual[name]) or value < 0:
                raise WeightError(
                    f"{self.path}: the state of the run is damaged, {name} is {value!r:.80}"
                )
        return state

    def check_run(self, run: Mapping[str, Any]) -> None:
        """Refuse a checkpoint of another run.

        Raises
        ------
        WeightError
            If something of it differs; says what.
        """
        ours, theirs = json.loads(json.dumps(run)), self.header["run"]
        for name in ours:
            if theirs.get(name) != ours[name]:
                raise WeightError(
                    f"{self.path} is of another training, {name} differs: "
                    f"{printable(str(theirs.get(name)))} there, {ours[name]} now; resume with "
                    "what it was made with, or begin in another folder"
                )


def write(path: Path, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write a checkpoint, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written; an old one is as it was.
    """
    text = json.dumps(header, allow_nan=False).encode()
    with NewFile(path, durable=True) as new:
        new.run(_write, new, text, arrays)


def _write(new: NewFile, text: bytes, arrays: Mapping[str, Array]) -> None:
    with new.hdf5("w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["format_version"] = VERSION
        file.attrs["sha256"] = _checksum(text, arrays)
        file["header"] = np.frombuffer(text, np.uint8)
        for name, array in arrays.items():
            file[f"arrays/{name}"] = array
            new.check()


def read(path: Path) -> Checkpoint:
    """Read a checkpoint, all of it.

    Raises
    ------
    WeightError
        If it is missing, damaged, or something else.
    """
    with open_file(path) as file:
        found = _described(path, file)
        check_size(path, found.values())
        with reading(path):
            stored = {name: np.asarray(dataset[()]) for name, dataset in found.items()}
        text = stored.pop("header").tobytes()
        arrays = {name.removeprefix("arrays/"): array for name, array in stored.items()}
        if _checksum(text, arrays) != attribute(path, file, "sha256", str):
            raise WeightError(f"{path}: the checkpoint is damaged, its checksum is another one")
    try:
        header = json.loads(text)
        run, state = header["run"], header["state"]
    except (ValueError, RecursionError, TypeError, KeyError):
        run = state = None
    if not isinstance(run, dict) or not isinstance(state, dict):
        raise WeightError(f"{path}: the header of the checkpoint is damaged")
    return Checkpoint(path, header, arrays)


def _described(path: Path, file: h5py.File) -> dict[str, h5py.Dataset]:
    """What a checkpoint holds, by path, checked before any of it is read."""
    if attribute(path, file, "format", str, default="") != FORMAT:
        raise WeightError(f"{path}: not a checkpoint of minincep")
    version = attribute(path, file, "format_version", int)
    if version != VERSION:
        raise WeightError(
            f"{path}: checkpoint version {version}; this minincep reads version {VERSION}: get "
            "the minincep that wrote it"
        )
    found = datasets(path, file)
    with reading(path):
        for name, dataset in found.items():
            header = name == "header"
            plain = dataset.dtype.kind in ("u" if header else "fiu") and dataset.dtype.itemsize <= 8
            if not plain or not (header or name.startswith("arrays/")):
                raise WeightError(f"{path}: {name} is no part of a checkpoint")
    if "header" not in found:
        raise WeightError(f"{path}: the checkpoint is damaged, it has no header")
    return found


def _checksum(text: bytes, arrays: Mapping[str, Array]) -> str:
    """SHA-256 over the header, and the names, types, shapes and values of all arrays."""
    digest = hashlib.sha256(text)
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def joined(parts: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """{"network": {path: array}, ...} -> {"network/path": array, ...}."""
    return {
        f"{group}/{name}": array for group, part in parts.items() for name, array in part.items()
    }


def digest(data: DataSet) -> str:
    """What a data set is known by: how many pictures and classes, and SHA-256 of their names.

    Names are relative to the folder that holds them all, so that it can be moved.
    """
    sha = hashlib.sha256("\n".join(data.classes).encode())
    paths = [os.path.abspath(example.path) for example in data.examples]
    root = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    for path, example in zip(paths, data.examples, strict=True):
        name = Path(os.path.relpath(path, root)).as_posix()
        sha.update(f"\n{example.label} {name}".encode(errors="surrogateescape"))
    return f"{len(data)} pictures of {len(data.classes)} classes, {sha.hexdigest()[:16]}"


def remove_leftovers(folder: Path) -> None:
    """Remove what a program that was killed while it wrote has left beside its files.

    Raises
    ------
    OSError
        If that cannot be done.
    """
    with writing(folder):
        for path in folder.iterdir():
            if re.fullmatch(r"\..+\.[0-9a-f]{32}", path.name) and path.is_file():
                os.unlink(path)
