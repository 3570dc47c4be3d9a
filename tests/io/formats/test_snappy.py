"""Snappy: all kinds of pieces, and damaged ones."""

import io
from pathlib import Path

import pytest

from minincep.io.errors import WeightError
from minincep.io.formats.snappy import decompress
from minincep.io.formats.source import Source
from tests.io.formats.messages import varint
from tests.io.formats.outcomes import little_memory


def unpacked(content: bytes, limit: int = 1 << 20) -> bytes:
    return decompress(Source(Path("net"), io.BytesIO(content)).whole(), limit)


def literal(content: bytes) -> bytes:
    """A piece as it is, with its length in the tag or after it."""
    length = len(content) - 1
    if length < 60:
        return bytes([length << 2]) + content
    width = (length.bit_length() + 7) // 8
    return bytes([59 + width << 2]) + length.to_bytes(width, "little") + content


@pytest.mark.parametrize("length", [1, 59, 60, 61, 256, 257, 65536, 65537])
def test_pieces_as_they_are(length: int) -> None:
    content = bytes(at * 7 % 251 for at in range(length))
    assert unpacked(varint(length) + literal(content)) == content


@pytest.mark.parametrize(
    ("copy", "expected"),
    [
        (bytes([(5 - 4) << 2 | 1, 6]), b"abcdefabcde"),  # 5 from 6 back, in 2 bytes
        (bytes([(6 - 1) << 2 | 2, 6, 0]), b"abcdefabcdef"),
        (bytes([(3 - 1) << 2 | 3, 4, 0, 0, 0]), b"abcdefcde"),
        (bytes([(7 - 1) << 2 | 2, 2, 0]), b"abcdefefefefe"),  # into what it writes
    ],
)
def test_stretches_of_what_was_before(copy: bytes, expected: bytes) -> None:
    assert unpacked(varint(len(expected)) + literal(b"abcdef") + copy) == expected


def test_a_long_way_back() -> None:
    content = bytes(at * 7 % 251 for at in range(2047))
    copy = bytes([(2047 >> 8) << 5 | (4 - 4) << 2 | 1, 2047 & 0xFF])
    assert unpacked(varint(2051) + literal(content) + copy) == content + content[:4]


def test_what_a_library_wrote() -> None:
    # by cramjam 2.14, which wraps Rust's snap
    packed = bytes.fromhex(
        "3b74496e63657074696f6e56342f4d697865645f35622f4272616e63685f30206e1e000031"
    )
    assert unpacked(packed) == b"InceptionV4/Mixed_5b/Branch_0 InceptionV4/Mixed_5b/Branch_1"


@pytest.mark.parametrize(
    "content",
    [
        varint(6) + literal(b"abcde"),  # too few
        varint(4) + literal(b"abcde"),  # too many
        varint(9) + literal(b"abcde") + bytes([1, 6]),  # from before the first
        varint(9) + literal(b"abcde") + bytes([1, 0]),  # from where nothing is yet
        varint(9) + bytes([8 << 2]) + b"abcde",  # cut off
        varint(9) + literal(b"abcde") + bytes([1]),
        varint(1),
    ],
)
def test_damaged_blocks(content: bytes) -> None:
    with pytest.raises(WeightError, match="cannot be decompressed"):
        unpacked(content)


def test_blocks_that_grow_beyond_what_is_allowed() -> None:
    with pytest.raises(WeightError, match="claims 1,048,577 bytes"):
        unpacked(varint((1 << 20) + 1))
    repeated = bytes([63 << 2 | 2, 1, 0]) * 100_000  # 64 bytes from 3
    with little_memory(2 << 20), pytest.raises(WeightError, match="cannot be decompressed"):
        unpacked(varint(100) + literal(b"a") + repeated)
