"""Weights files: one HDF5 file holds a network, its weights, and all it takes to use them.

    /                       attributes: format, format_version, architecture, config (JSON),
                            preprocessing (JSON), class_offset, source, sha256
    /labels                 names of the classes, UTF-8 (absent if unknown)
    /weights/<path>         one array for each weight, under the path of the module that has it

Loading is strict: names and shapes must be those of the network, all of them, and the numbers
finite.  A file is only ever data: links that lead elsewhere are refused, nothing is unpickled,
and no array is read before its shape is known to be right.  One bound is not ours: for a damaged
text the HDF5 library may take up to 4 GB before it gives up.
"""

import contextlib
import dataclasses
import difflib
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from minincep.io.catalogue import CATALOGUE
from minincep.io.errors import WeightError
from minincep.io.files import NewFile
from minincep.io.hdf5_heaps import check_heaps
from minincep.io.known import DEFAULT as DEFAULT
from minincep.io.known import weights_path
from minincep.io.text import printable
from minincep.models.network import Network
from minincep.models.preprocessing import Preprocessing
from minincep.models.registry import ARCHITECTURES, build_model
from minincep.nn.init import initialise
from minincep_kernels import Array

FORMAT = "minincep-weights"
VERSION = 1
COMPRESSION = 64  # times that a file may be smaller than what it holds

Scalar = TypeVar("Scalar", str, int)

_log = logging.getLogger("minincep")


def save(network: Network, path: str | os.PathLike[str]) -> None:
    """Write a network to a weights file, whole or not at all.

    Raises
    ------
    WeightError
        If the network holds what `load` would refuse: numbers that are not finite, or labels that
        are not one for each class.
    OSError
        If the file cannot be written.
    """
    for name, array in network.arrays().items():
        check_numbers("cannot save", name, array)
    labels = None
    if network.labels is not None:
        labels = [str(label).encode(errors="replace") for label in network.labels]
        if len(labels) != network.channels or any(b"\0" in label for label in labels):
            raise WeightError(
                f"cannot save {len(labels)} labels: there must be {network.channels}, one for "
                "each class, of text without null characters"
            )
    with NewFile(Path(path)) as new:
        new.run(_write, new, network, labels)


def _write(new: NewFile, network: Network, labels: list[bytes] | None) -> None:
    arrays = network.arrays()
    with new.hdf5("w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["format_version"] = VERSION
        file.attrs["architecture"] = network.architecture
        file.attrs["config"] = json.dumps(dict(network.config), allow_nan=False)
        file.attrs["preprocessing"] = json.dumps(
            dataclasses.asdict(network.preprocessing), allow_nan=False
        )
        file.attrs["class_offset"] = 0
        file.attrs["source"] = network.source
        file.attrs["sha256"] = checksum(arrays)
        if labels is not None:
            file["labels"] = labels
        for name, array in arrays.items():
            file[f"weights/{name}"] = array
            new.check()


def load(
    path: str | os.PathLike[str] = DEFAULT, *, num_classes: int | None = None, seed: int = 0
) -> Network:
    """Read a network from a weights file, in inference mode.

    Parameters
    ----------
    path
        Or the name of weights that come with minincep: "eggs", the default, is a small network
        that tells intact from broken eggs.  Or of weights that 'minincep download' has fetched.
    num_classes
        Give the network new classifiers for so many classes, drawn from `seed`, and take all
        other weights from the file.  The labels are dropped.

    Raises
    ------
    WeightError
        If the file is missing, damaged, not a weights file, or not whole: the message lists all
        missing, unexpected and mis-shaped arrays.
    ConfigError
        If `num_classes` is out of range.
    """
    name, path = str(path), weights_path(path)
    if name in CATALOGUE and not path.exists():
        size = CATALOGUE[name].megabytes
        raise WeightError(
            f"no weights {name} here yet: 'minincep download {name}' fetches them, {size} MB"
        )
    if name in ARCHITECTURES and not path.exists():
        raise WeightError(
            f"no weights of {name} come with minincep: 'minincep convert' makes a file from "
            "other people's"
        )
    with open_file(path) as file:
        found = datasets(path, file)
        network = _described(path, file, found.get("labels"))
        stored = {
            name.removeprefix("weights/"): dataset
            for name, dataset in found.items()
            if name.startswith("weights/")
        }
        wanted = {name: array.shape for name, array in network.arrays().items()}
        check_names(str(path), {name: data.shape for name, data in stored.items()}, wanted)
        check_size(path, stored.values())
        arrays = {name: read(path, name, stored[name]) for name in wanted}
        if checksum(arrays) != attribute(path, file, "sha256", str):
            raise WeightError(f"{path}: the weights are damaged, their checksum is another one")
    network.assign_all(arrays)
    return network if num_classes is None else _with_classes(network, num_classes, seed)


def _with_classes(network: Network, num_classes: int, seed: int) -> Network:
    """The same network with new classifiers."""
    config = {**network.config, "num_classes": num_classes}
    renewed = build_model(network.architecture, **config)
    renewed.preprocessing, renewed.source = network.preprocessing, network.source
    head = ARCHITECTURES[network.architecture].head
    fresh = frozenset(name for name in renewed.arrays() if name.startswith(head))
    initialise(renewed, seed, only=fresh)
    renewed.assign_all({k: v for k, v in network.arrays().items() if not k.startswith(head)})
    _log.warning(
        "new classifier for %s classes, not trained: %s", num_classes, ", ".join(sorted(fresh))
    )
    return renewed


def _described(path: Path, file: h5py.File, labels: h5py.Dataset | None) -> Network:
    """The network that the attributes of a file describe, without weights."""
    if attribute(path, file, "format", str, default="") != FORMAT:
        raise WeightError(
            f"{path}: not a weights file of minincep; 'minincep convert' makes one from "
            "other people's"
        )
    version = attribute(path, file, "format_version", int)
    if version != VERSION or attribute(path, file, "class_offset", int, default=0) != 0:
        raise WeightError(
            f"{path}: format version {version}, or a class offset; this minincep reads version "
            f"{VERSION} without: get the minincep that wrote it"
        )
    try:
        config = json.loads(attribute(path, file, "config", str))
        network = build_model(attribute(path, file, "architecture", str), **config)
        preprocessing = json.loads(attribute(path, file, "preprocessing", str))
        network.preprocessing = Preprocessing(**preprocessing)
    except WeightError:
        raise
    except (TypeError, ValueError, MemoryError, RecursionError) as error:
        reason = printable(f"{error!s:.500}")
        raise WeightError(f"{path}: its description of the network is damaged ({reason})") from None
    network.source = printable(attribute(path, file, "source", str, default=""))
    if labels is not None:
        network.labels = _labels(path, labels, network.channels)
    return network


def _labels(path: Path, dataset: h5py.Dataset, classes: int) -> list[str]:
    with reading(path):
        if dataset.shape != (classes,) or h5py.check_string_dtype(dataset.dtype) is None:
            raise WeightError(f"{path}: there must be {classes} labels, text, one for each class")
        return [printable(value.decode(errors="replace")) for value in dataset[()].tolist()]


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Within the `with` block, name the file in what h5py raises for damaged ones."""
    try:
        yield
    except WeightError:
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise WeightError(f"{path}: not an HDF5 file that can be read ({error})") from None


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading.

    Raises
    ------
    WeightError
        If it is missing, or not an HDF5 file.
    """
    if not path.is_file():
        reason = "is a folder" if path.is_dir() else "there is no such file"
        raise WeightError(f"{path}: {reason}")
    with reading(path):
        with path.open("rb") as content:
            check_heaps(path, content)
        file = h5py.File(path, "r")
    with file:
        yield file


def attribute(
    path: Path, group: h5py.Group, name: str, kind: type[Scalar], *, default: Scalar | None = None
) -> Scalar:
    """One attribute that must be a single text or whole number.

    Raises
    ------
    WeightError
        If it is missing and there is no default, or is something else.
    """
    wanted = h5py.h5t.STRING if kind is str else h5py.h5t.INTEGER
    value: Any = default
    with reading(path):
        if name in group.attrs:
            stored = group.attrs.get_id(name)
            # Before it is read: values of some other types, damaged, make the library crash.
            if stored.shape != () or stored.get_type().get_class() != wanted:
                raise WeightError(
                    f"{path}: attribute {name} must be one {kind.__name__}, is {stored.dtype} of "
                    f"shape {stored.shape}"
                )
            value = group.attrs[name]
    if isinstance(value, np.integer):
        value = int(value)
    if not isinstance(value, kind):
        raise WeightError(
            f"{path}: attribute {name} must be one {kind.__name__}, got {value!r:.80}"
        )
    return value


def datasets(path: Path, root: h5py.Group) -> dict[str, h5py.Dataset]:
    """All arrays below a group by path, none of them read.

    Raises
    ------
    WeightError
        If a link leads elsewhere, an array is stored elsewhere, or a group can be reached in two
        ways, which lets a small file describe a tree without end.
    """
    found: dict[str, h5py.Dataset] = {}
    seen: set[int] = set()
    waiting = [("", root)]
    with reading(path):
        while waiting:
            prefix, group = waiting.pop()
            address = h5py.h5o.get_info(group.id).addr
            if address in seen:
                raise WeightError(
                    f"{path}: group {prefix} is there in two places, which is refused"
                )
            seen.add(address)
            for name in group:
                full = f"{prefix}{name}"
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise WeightError(f"{path}: {full} is a link to another place, refused")
                entry = group[name]
                if isinstance(entry, h5py.Group):
                    waiting.append((f"{full}/", entry))
                elif isinstance(entry, h5py.Dataset):
                    if entry.is_virtual or entry.external:
                        raise WeightError(f"{path}: {full} is stored in another file, refused")
                    found[full] = entry
    return found


def check_size(path: Path, stored: Iterable[h5py.Dataset]) -> None:
    """Refuse a small file that claims to hold much, before memory is taken for it.

    Raises
    ------
    WeightError
        If the arrays are more than `COMPRESSION` times the size of the file.
    """
    with reading(path):
        claimed = sum(dataset.nbytes for dataset in stored)
    if claimed > COMPRESSION * path.stat().st_size:
        raise WeightError(f"{path}: claims {claimed:,} bytes of weights, far more than it can hold")


def read(path: Path, name: str, dataset: h5py.Dataset) -> Array:
    """One array of weights as float32.

    Raises
    ------
    WeightError
        If it cannot be read, or holds what is no weight.
    """
    with reading(path):
        if dataset.dtype.kind != "f" or dataset.dtype.itemsize > 8:
            raise WeightError(f"{path}: {name} holds {dataset.dtype}, not floating-point numbers")
        with np.errstate(over="ignore"):  # becomes infinite, which is refused
            array = np.ascontiguousarray(dataset[()], dtype=np.float32)
    check_numbers(f"{path}", name, array)
    return array


def check_numbers(source: str, name: str, array: Array) -> None:
    """Refuse numbers that no network can work with.

    Raises
    ------
    WeightError
        If one is not finite, or a variance is negative.
    """
    if not np.isfinite(array).all():
        raise WeightError(f"{source}: {name} holds numbers that are not finite")
    if name.endswith(("running_var", "moving_variance")) and (array < 0).any():
        raise WeightError(f"{source}: {name} holds a negative variance")


def check_names(
    source: str,
    stored: Mapping[str, tuple[int, ...]],
    wanted: Mapping[str, tuple[int, ...]],
) -> None:
    """Compare the arrays of a file with those that a network needs, by name and shape.

    Raises
    ------
    WeightError
        If they are not the same; one report of all that is missing, unexpected and mis-shaped.
    """
    missing = [name for name in wanted if name not in stored]
    surplus = [name for name in stored if name not in wanted]
    shapes = [name for name in wanted if name in stored and stored[name] != wanted[name]]
    if not (missing or surplus or shapes):
        return
    lines = [
        *_report("missing", missing, lambda name: _nearest(name, surplus)),
        *_report("unexpected", surplus, lambda name: _nearest(name, missing)),
        *_report("wrong shape", shapes, lambda n: f" is {stored[n]}, should be {wanted[n]}"),
    ]
    raise WeightError("\n  ".join([f"{source}: the weights do not fit the network:", *lines]))


def _report(kind: str, names: Sequence[str], remark: Any) -> list[str]:
    shown = [printable(f"{kind}: {name}{remark(name)}") for name in names[:10]]
    if len(names) > len(shown):
        shown.append(f"{kind}: {len(names) - len(shown)} more")
    return shown


def _nearest(name: str, others: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, others[:1000], 1)
    return f" (nearest: {near[0]})" if near else ""


def checksum(arrays: Mapping[str, Array]) -> str:
    """SHA-256 over names, shapes and values, whatever the order."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name], dtype="<f4")
        digest.update(f"{name} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()
