"""Which format a file has: by what it begins with, never by its name alone."""

import contextlib
import importlib
import struct
from collections.abc import Iterator
from pathlib import Path

import h5py

from minincep.io.errors import WeightError
from minincep.io.formats import keras_zip
from minincep.io.formats.source import Source, opened
from minincep.io.formats.stored import Stored
from minincep.io.formats.zip_records import records
from minincep.io.hdf5 import FORMAT, attribute, open_file

OWN = "minincep"  # in the place of a reader, for weights files of ours
KNOWN = (
    "HDF5 (Keras), .keras, PyTorch, safetensors, TensorFlow checkpoints and frozen graphs, and ONNX"
)

ZIP = b"PK\x03\x04"
TORCH_STREAM = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."  # a pickled number
TABLE = struct.pack("<Q", 0xDB4775248B80FB57)  # what TensorFlow's tables end with
PICKLE = b"\x80"
# The first field of a message: of a GraphDef its nodes, of a model in ONNX a version of 3 or more.
FROZEN_GRAPH, ONNX = b"\x0a", b"\x08"


@contextlib.contextmanager
def arrays(path: Path) -> Iterator[dict[str, Stored]]:
    """Arrays by the names they have in a file of any format that is known, none read yet.

    Raises
    ------
    WeightError
        If there is no such file, it is damaged, of no known format, or a weights file of ours.
    """
    name = reader(path)
    if name == OWN:
        raise WeightError(f"{path} is already a weights file of minincep: use it as it is")
    module = importlib.import_module(f"minincep.io.formats.{name}")
    with module.arrays(path) as found:
        yield found


def reader(path: Path) -> str:
    """Name of the module that reads a file, or `OWN`.

    Raises
    ------
    WeightError
        If there is no such file, or none reads it.
    """
    if path.is_dir() or path.with_name(f"{path.name}.index").is_file():
        return "tf_checkpoint"
    with opened(path) as source:
        head, tail = source.read(0, 32), source.read(max(source.size - len(TABLE), 0), len(TABLE))
        if tail == TABLE:  # by itself a checkpoint of version 1, beside data the index of them
            return "tf_checkpoint" if path.suffix == ".index" else "tf_checkpoint_v1"
        if _beside_index(path):
            return "tf_checkpoint"
        if head.startswith(ZIP):
            return _zip(source)
        if h5py.is_hdf5(path):  # may begin later than at the first byte
            return _hdf5(path)
        if head.startswith(TORCH_STREAM):
            return "torch_stream"
        if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= source.size - 8:
            return "safetensors"
        if head.startswith(FROZEN_GRAPH):
            return "tf_graph"
        if head.startswith(ONNX) and head[1:2] >= b"\x03":
            return "onnx"
        raise WeightError(f"{path}: {_remark(source, head)}; formats that are known: {KNOWN}")


def _beside_index(path: Path) -> bool:
    """Whether this is the graph or a data file of a checkpoint of version 2.

    Data files hold nothing but numbers; only their names and the index beside tell what they are.
    """
    stem = path.name.removesuffix(".meta").partition(".data-")[0]
    return stem != path.name and path.with_name(f"{stem}.index").is_file()


def _hdf5(path: Path) -> str:
    with open_file(path) as file:
        if attribute(path, file, "format", str, default="") == FORMAT:
            return OWN
        try:
            numbered = "layers" in file or "_layer_checkpoint_dependencies" in file
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise WeightError(f"{path}: a damaged HDF5 file ({error!s:.200})") from None
        return "keras_v3" if numbered else "keras_h5"


def _zip(source: Source) -> str:
    names = records(source)
    if keras_zip.WEIGHTS in names:
        return "keras_zip"
    if any(name.endswith("/data.pkl") for name in names):
        return "torch_zip"
    raise WeightError(
        f"{source.path}: a zip file, but neither of PyTorch nor of Keras; unpack it first"
    )


def _remark(source: Source, head: bytes) -> str:
    if not source.size:
        return "the file is empty"
    if head.startswith(PICKLE):
        return "a pickle that is no file of PyTorch's, and no other is opened"
    return f"no weights of a known format; it begins with {head[:8]!r}"
