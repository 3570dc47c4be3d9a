"""The checksum, against a bit-by-bit one and published values."""

import numpy as np
import pytest

from minincep.io.formats.crc32c import PIECE, crc32c, masked
from tests.io.formats import messages


@pytest.mark.parametrize(
    ("content", "checksum"),  # RFC 3720, section B.4
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_published_values(content: bytes, checksum: int) -> None:
    assert crc32c(content) == checksum


@pytest.mark.parametrize("length", [*range(20), 63, 64, 65, 1001])
def test_any_length_in_one_part_or_two(length: int) -> None:
    content = np.random.default_rng(length).bytes(length)
    assert crc32c(content) == messages.crc32c(content)
    assert crc32c(content[length // 3 :], crc32c(content[: length // 3])) == crc32c(content)


def test_pieces_are_joined() -> None:
    content = np.random.default_rng(0).bytes(2 * PIECE + 7)
    first = crc32c(content[:12345])
    assert crc32c(content[12345:], first) == crc32c(content)
    assert crc32c(content) != crc32c(content[:-1] + b"\0")


def test_masked_as_it_is_stored() -> None:
    assert masked(crc32c(b"123456789")) == messages.masked(b"123456789")
