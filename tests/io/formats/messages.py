"""Messages, tables and checkpoints written byte by byte, right ones and wrong ones, for the tests.

Written from the formats' descriptions, plainly, and apart from the readers.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

FLOAT, DOUBLE, INT64, TEXT = 1, 2, 9, 7  # TensorFlow's numbers
MAGIC = bytes.fromhex("57fb808b247547db")


def varint(number: int) -> bytes:
    """A number, 7 bits a byte."""
    number %= 1 << 64
    result = bytearray()
    while number > 0x7F:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*result, number])


def field(number: int, value: int | bytes | str) -> bytes:
    """A field with a number, or with text or a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def fixed32(number: int, value: int) -> bytes:
    """A field with 4 bytes."""
    return varint(number << 3 | 5) + struct.pack("<I", value)


def tf_shape(*lengths: int) -> bytes:
    """A TensorShapeProto."""
    return b"".join(field(2, field(1, length)) for length in lengths)


def crc32c(content: bytes) -> int:
    """Bit by bit."""
    register = 0xFFFFFFFF
    for byte in content:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def masked(content: bytes) -> int:
    """A checksum as it is stored."""
    checksum = crc32c(content)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


Entries = Sequence[tuple[bytes, bytes]]


def block(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Entries that share nothing with the ones before."""
    body = b"".join(
        varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in entries
    )
    return body + struct.pack("<II", 0, 1)


def sealed(content: bytes, kind: int = 0) -> bytes:
    """A block with its kind of compression and checksum."""
    return content + bytes([kind]) + struct.pack("<I", masked(content + bytes([kind])))


def handle(start: int, length: int) -> bytes:
    """Where a block is."""
    return varint(start) + varint(length)


def table(
    *groups: Entries,
    kind: int = 0,
    compress: Callable[[bytes], bytes] = bytes,
    handles: Sequence[bytes] | None = None,
) -> bytes:
    """A sorted table with a data block for each group of entries."""
    content, found = b"", []
    for group in groups:
        packed = compress(block(group))
        found.append(handle(len(content), len(packed)))
        content += sealed(packed, kind)
    if handles is None:
        last = [group[-1][0] for group in groups]
        index = compress(block(zip(last, found, strict=True)))
    else:
        index = compress(block((b"%03d" % at, where) for at, where in enumerate(handles)))
    start = len(content)
    content += sealed(index, kind)
    footer = handle(0, 0) + handle(start, len(index))
    return content + footer.ljust(40, b"\0") + MAGIC


HEADER = field(1, 1)  # one data file


def checkpoint(
    folder: Path, entries: dict[str, bytes], data: bytes, header: bytes = HEADER
) -> Path:
    """A checkpoint of version 2; gives the path of its index."""
    pairs = [(name.encode(), entry) for name, entry in sorted(entries.items())]
    (folder / "model.ckpt.index").write_bytes(table([(b"", header), *pairs]))
    (folder / "model.ckpt.data-00000-of-00001").write_bytes(data)
    return folder / "model.ckpt.index"


def bundle_entry(
    data: bytes,
    shape: Sequence[int],
    *,
    dtype: int = FLOAT,
    shard: int = 0,
    offset: int = 0,
    size: int | None = None,
    more: bytes = b"",
) -> bytes:
    """A BundleEntryProto for the beginning of the data."""
    size = len(data) if size is None else size
    return b"".join(
        [
            field(1, dtype) + field(2, tf_shape(*shape)) + field(3, shard) + field(4, offset),
            field(5, size) + fixed32(6, masked(data)) + more,
        ]
    )
