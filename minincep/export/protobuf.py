"""The wire format of protocol buffers, written: a field is a key, then a number or bytes.

A message inside another has its length in front, which is known although the weights in it are
made only when they are written.
"""

import struct
from collections.abc import Iterable

from minincep.export.parts import Later, Part

VARINT, BYTES, FIXED32 = 0, 2, 5  # how the value of a field is stored

Message = list[Part]


def varint(n: int) -> bytes:
    """A number from 0 to 2 ** 64 - 1, seven bits a byte, the lowest first."""
    found = bytearray()
    while n > 0x7F:
        found.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*found, n])


def number(field: int, n: int) -> Message:
    """A whole number that is not negative."""
    return [varint(field << 3 | VARINT) + varint(n)]


def real(field: int, x: float) -> Message:
    """A number in single precision."""
    return [varint(field << 3 | FIXED32) + struct.pack("<f", x)]


def text(field: int, content: str) -> Message:
    return message(field, [content.encode(errors="replace")])


def message(field: int, parts: Iterable[Part]) -> Message:
    """Parts one after the other, as one field."""
    parts = list(parts)
    size = sum(part.size if isinstance(part, Later) else len(part) for part in parts)
    return [varint(field << 3 | BYTES) + varint(size), *parts]
