"""CRC-32C (Castagnoli), the checksum in TensorFlow's files, at the speed of a disk.

The register of a CRC is linear over GF(2): that after two words is that after the first, advanced
by a word of zeros, XOR the second word.  So neighbouring words are folded in pairs, then these in
pairs, and so on; "advanced by n zero bytes" is the same linear map for all pairs of a level, two
table lookups for 32 bits, and NumPy does a level at once.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]

POLYNOMIAL = 0x82F63B78  # of Castagnoli, bits reflected
PIECE = 1 << 20  # bytes folded at a time, a power of two


def crc32c(content: bytes | bytearray | memoryview, start: int = 0) -> int:
    """Checksum of bytes; `start` is that of what comes before them."""
    view = memoryview(content).cast("B")
    register = start ^ 0xFFFFFFFF
    whole = len(view) - len(view) % 4
    for first in range(0, whole, PIECE):
        words = np.frombuffer(view[first : min(first + PIECE, whole)], "<u4").astype(np.uint32)
        words[0] ^= np.uint32(register)
        register = _advance_all(words)
    for byte in view[whole:]:
        register = register >> 8 ^ _of_byte((register ^ byte) & 0xFF)
    return register ^ 0xFFFFFFFF


def masked(checksum: int) -> int:
    """As it is stored: a checksum of bytes that contain their checksum would be a constant."""
    rotated = checksum >> 15 | checksum << 17
    return (rotated + 0xA282EAD8) & 0xFFFFFFFF


def _advance_all(words: Words) -> int:
    """Register after all words, the first of which has the register before them in it."""
    level = 0
    while len(words) > 1:
        if len(words) % 2:
            words = np.concatenate([np.zeros(1, np.uint32), words])  # leading zeros add nothing
        low, high = _tables(level)
        halves = words.view("<u2").reshape(-1, 4)
        words = low.take(halves[:, 0]) ^ high.take(halves[:, 1]) ^ words[1::2]
        level += 1
    low, high = _tables(0)
    return int(low[words[0] & 0xFFFF] ^ high[words[0] >> 16])


@cache
def _of_byte(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (POLYNOMIAL if byte & 1 else 0)
    return byte


@cache
def _images(level: int) -> tuple[int, ...]:
    """What each of the 32 bits becomes when the register advances by 4 * 2**level zero bytes."""
    if level:
        half = _images(level - 1)
        return tuple(_apply(half, image) for image in half)
    images = []
    for bit in range(32):
        register = 1 << bit
        for _ in range(4):
            register = register >> 8 ^ _of_byte(register & 0xFF)
        images.append(register)
    return tuple(images)


def _apply(images: tuple[int, ...], register: int) -> int:
    result = 0
    for bit, image in enumerate(images):
        if register >> bit & 1:
            result ^= image
    return result


@cache
def _tables(level: int) -> tuple[Words, Words]:
    """The map of a level for all values of the lower and of the upper 16 bits."""
    images = _images(level)
    return _table(images[:16]), _table(images[16:])


def _table(images: tuple[int, ...]) -> Words:
    table = np.zeros(1, np.uint32)
    for image in images:
        table = np.concatenate([table, table ^ np.uint32(image)])
    return table
