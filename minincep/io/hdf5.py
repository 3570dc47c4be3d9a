"""Weights files: one HDF5 file holds a network, its weights, and all it takes to use them.

    /                       attributes: format, format_version, architecture, config (JSON),
                            preprocessing (JSON), class_offset, source, sha256
    /labels                 names of the classes, UTF-8 (absent if unknown)
    /weights/<path>         one array for each weight, under the path of the module that has it

Loading is strict: names and shapes must be those of the network, all of them, and the numbers
finite.  A file is only ever data: links that lead elsewhere are refused, nothing is unpickled,
and no array is read before its shape is known to be right.
"""

import contextlib
import dataclasses
import difflib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from minincep.io.errors import WeightError
from minincep.models.network import Network
from minincep.models.preprocessing import Preprocessing
from minincep.models.registry import ARCHITECTURES, build_model
from minincep.nn.init import initialise
from minincep_kernels import Array
from minincep_kernels.errors import ConfigError

FORMAT = "minincep-weights"
VERSION = 1
DEFAULT = Path(__file__).parents[1] / "weights" / "eggs.h5"

_log = logging.getLogger("minincep")


def save(network: Network, path: str | os.PathLike[str]) -> None:
    """Write a network to a weights file, whole or not at all.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    arrays = network.arrays()
    target = Path(path)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    try:
        with h5py.File(temporary, "w") as file:
            file.attrs["format"] = FORMAT
            file.attrs["format_version"] = VERSION
            file.attrs["architecture"] = network.architecture
            file.attrs["config"] = json.dumps(dict(network.config))
            file.attrs["preprocessing"] = json.dumps(dataclasses.asdict(network.preprocessing))
            file.attrs["class_offset"] = 0
            file.attrs["source"] = network.source
            file.attrs["sha256"] = checksum(arrays)
            if network.labels is not None:
                file["labels"] = [label.encode() for label in network.labels]
            for name, array in arrays.items():
                file[f"weights/{name}"] = array
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # temporary files are private, results are not
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike[str], *, num_classes: int | None = None, seed: int = 0) -> Network:
    """Read a network from a weights file, in inference mode.

    Parameters
    ----------
    num_classes
        Give the network new classifiers for so many classes, drawn from `seed`, and take all
        other weights from the file.  The labels are dropped.

    Raises
    ------
    WeightError
        If the file is missing, damaged, not a weights file, or not whole: the message lists all
        missing, unexpected and mis-shaped arrays.
    """
    path = Path(path)
    with open_file(path) as file:
        network = _described(path, file, num_classes)
        stored = {
            name.removeprefix("weights/"): dataset
            for name, dataset in datasets(path, file).items()
            if name.startswith("weights/")
        }
        fresh: frozenset[str] = frozenset()
        if num_classes is not None:
            head = ARCHITECTURES[network.architecture].head
            fresh = frozenset(name for name in network.arrays() if name.startswith(head))
            stored = {name: data for name, data in stored.items() if not name.startswith(head)}
        wanted = {k: v.shape for k, v in network.arrays().items() if k not in fresh}
        check_names(str(path), {name: data.shape for name, data in stored.items()}, wanted)
        arrays = {name: read(path, name, stored[name]) for name in wanted}
        if num_classes is None and checksum(arrays) != file.attrs.get("sha256"):
            raise WeightError(f"{path}: the weights are damaged, their checksum is another one")
    network.assign_all(arrays)
    if fresh:
        initialise(network, seed, only=fresh)
        _log.warning(
            "%s: new classifier for %s classes, not trained (%s)",
            path,
            num_classes,
            ", ".join(sorted(fresh)),
        )
    return network


def _described(path: Path, file: h5py.File, num_classes: int | None) -> Network:
    """The network that the attributes of a file describe, without weights."""
    if file.attrs.get("format") != FORMAT:
        raise WeightError(
            f"{path}: not a weights file of minincep; 'minincep convert' makes one from "
            "other people's"
        )
    if file.attrs.get("format_version") != VERSION:
        raise WeightError(
            f"{path}: format version {file.attrs.get('format_version')}, this minincep reads "
            f"{VERSION}: get the minincep that wrote it"
        )
    try:
        config = json.loads(file.attrs["config"])
        if num_classes is not None:
            config["num_classes"] = num_classes
        network = build_model(str(file.attrs["architecture"]), **config)
        network.preprocessing = Preprocessing(**json.loads(file.attrs["preprocessing"]))
        network.source = str(file.attrs.get("source", ""))
        if "labels" in file and num_classes is None:
            network.labels = _labels(path, file, network.channels)
    except (KeyError, TypeError, json.JSONDecodeError, ConfigError, MemoryError) as error:
        raise WeightError(f"{path}: its description of the network is damaged ({error})") from None
    return network


def _labels(path: Path, file: h5py.File, classes: int) -> list[str]:
    dataset = datasets(path, file).get("labels")
    if dataset is None or dataset.shape != (classes,):
        raise WeightError(f"{path}: there must be {classes} labels, one for each class")
    return [value.decode(errors="replace") for value in dataset[()].tolist()]


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading.

    Raises
    ------
    WeightError
        If it is missing, or not an HDF5 file that can be read, also where that shows only later.
    """
    if not path.is_file():
        reason = "is a folder" if path.is_dir() else "there is no such file"
        raise WeightError(f"{path}: {reason}")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:  # what h5py raises for damaged files
        raise WeightError(f"{path}: not an HDF5 file that can be read ({error})") from None


def datasets(path: Path, group: h5py.Group, prefix: str = "") -> dict[str, h5py.Dataset]:
    """All arrays below a group by path, none of them read.

    Raises
    ------
    WeightError
        If a link leads elsewhere, an array is stored elsewhere, or groups are nested without end.
    """
    found: dict[str, h5py.Dataset] = {}
    if prefix.count("/") > 16:
        raise WeightError(f"{path}: groups nested too deeply at {prefix}")
    for name in group:
        full = f"{prefix}{name}"
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise WeightError(f"{path}: {full} is a link to another place, which is refused")
        entry = group[name]
        if isinstance(entry, h5py.Group):
            found |= datasets(path, entry, f"{full}/")
        elif isinstance(entry, h5py.Dataset):
            if entry.is_virtual or entry.external:
                raise WeightError(f"{path}: {full} is stored in another file, which is refused")
            found[full] = entry
    return found


def read(path: Path, name: str, dataset: h5py.Dataset) -> Array:
    """One array of weights as float32.

    Raises
    ------
    WeightError
        If it holds no floating-point numbers, or one that is not finite.
    """
    if dataset.dtype.kind != "f" or dataset.dtype.itemsize > 8:
        raise WeightError(f"{path}: {name} holds {dataset.dtype}, not floating-point numbers")
    array = np.ascontiguousarray(dataset[()], dtype=np.float32)
    if not np.isfinite(array).all():
        raise WeightError(f"{path}: {name} holds numbers that are not finite")
    return array


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
    shown = [f"{kind}: {name}{remark(name)}" for name in names[:10]]
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
