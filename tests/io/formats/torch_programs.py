"""Files as PyTorch writes them, made here by hand so that anything can be wrong with them."""

import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from minincep.io.formats.torch_stream import MAGIC, PROTOCOL

HEAD, STOP = b"\x80\x02", b"."


def text(value: str) -> bytes:
    """BINUNICODE."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def integer(value: int) -> bytes:
    """LONG1."""
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def numbers(values: Sequence[int]) -> bytes:
    """A tuple of integers."""
    return b"(" + b"".join(map(integer, values)) + b"t"


def storage(
    key: str = "0",
    kind: str = "FloatStorage",
    count: int = 4,
    part: bytes = b"",
    what: str = "storage",
) -> bytes:
    """A reference to the numbers of a storage."""
    name = b"ctorch\n" + kind.encode() + b"\n"
    return b"(" + text(what) + name + text(key) + text("cpu") + integer(count) + part + b"tQ"


def tensor(
    of: bytes,
    offset: int = 0,
    shape: Sequence[int] = (4,),
    strides: Sequence[int] = (1,),
    more: bytes = b"",
) -> bytes:
    """A tensor on a storage."""
    hooks = b"ccollections\nOrderedDict\n)R"
    arguments = of + integer(offset) + numbers(shape) + numbers(strides) + b"\x89" + hooks + more
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def mapping(**values: bytes) -> bytes:
    """A dict."""
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def write_zip(
    path: Path, program: bytes, records: Mapping[str, bytes], method: int = zipfile.ZIP_STORED
) -> Path:
    """A file of PyTorch 1.6 and later, of these records below the first folder."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("archive/data.pkl", program)
        for name, content in records.items():
            archive.writestr(f"archive/{name}", content)
    return path


def write_stream(path: Path, program: bytes, storages: Mapping[str, bytes], size: int = 4) -> Path:
    """A file of PyTorch before 1.6, whose numbers take `size` bytes."""
    plain = [pickle.dumps(part, 2) for part in (MAGIC, PROTOCOL, {"little_endian": True})]
    parts = [*plain, program, pickle.dumps(list(storages), 2)]
    for content in storages.values():
        parts += [struct.pack("<q", len(content) // size), content]
    path.write_bytes(b"".join(parts))
    return path
