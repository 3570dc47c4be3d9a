"""The sorted table: what is in it, and damaged ones."""

import io
from pathlib import Path

import pytest

from minincep.io.errors import WeightError
from minincep.io.formats import tf_table
from minincep.io.formats.source import Source
from tests.io.formats.messages import MAGIC, block, handle, sealed, table, varint
from tests.io.formats.test_snappy import literal


def entries(content: bytes) -> list[tuple[bytes, bytes]]:
    source = Source(Path("net.index"), io.BytesIO(content))
    return [(key, value.content(1 << 20)) for key, value in tf_table.entries(source)]


def snappy(content: bytes) -> bytes:
    return varint(len(content)) + literal(content)


FEW = [(b"", b"first"), (b"a", b"second"), (b"b", b"")]
LENGTH = len(block(FEW))


def test_all_entries_of_all_blocks() -> None:
    assert entries(table(FEW, [(b"c", b"third")])) == [*FEW, (b"c", b"third")]
    assert entries(table()) == []


def test_keys_share_what_they_begin_with() -> None:
    body = varint(0) + varint(3) + varint(1) + b"abc1" + varint(2) + varint(1) + varint(1) + b"d2"
    body += bytes(4) + (1).to_bytes(4, "little")
    index = block([(b"z", handle(0, len(body)))])
    content = sealed(body)
    footer = handle(0, 0) + handle(len(content), len(index))
    assert entries(content + sealed(index) + footer.ljust(40, b"\0") + MAGIC) == [
        (b"abc", b"1"),
        (b"abd", b"2"),
    ]


def test_compressed_blocks() -> None:
    assert entries(table(FEW, kind=1, compress=snappy)) == FEW


def test_compressed_blocks_are_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [[(b"%d" % at, bytes(100))] for at in range(9)]
    content = table(*groups, kind=1, compress=snappy)
    assert len(entries(content)) == 9
    monkeypatch.setattr(tf_table, "LARGEST_INDEX", 500)
    with pytest.raises(WeightError, match="make sense"):
        entries(content)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "no checkpoint of TensorFlow"),
        (bytes(100), "no checkpoint of TensorFlow"),
        (MAGIC, "no checkpoint of TensorFlow"),
        (bytes(40) + MAGIC, "bytes should follow"),
        (b"\xff" * 40 + MAGIC, "a number without end"),
        (table(FEW, kind=2), r"compressed in an unknown way \(2\)"),
        (table(FEW, kind=1), "damaged"),
        (table([(b"b", b""), (b"a", b"")]), "not in order"),
        (table([(b"b", b""), (b"b", b"")]), "not in order"),
        (table([(b"b", b"")], [(b"a", b"")]), "not in order"),
        (
            table(FEW, handles=[handle(0, LENGTH), handle(0, LENGTH)]),
            "blocks that lie over each other",
        ),
        (table(FEW, handles=[handle(1 << 62, LENGTH)]), "bytes should follow, where 0 are"),
        (table(FEW, handles=[handle(0, 1 << 62)]), "bytes should follow"),
        (table(FEW, handles=[handle(0, LENGTH - 1)]), "the checksum of a block is another one"),
        (table([(b"x" * 1025, b"")]), "a key of 0 and 1,025 bytes"),
    ],
)
def test_damaged_tables(content: bytes, match: str) -> None:
    with pytest.raises(WeightError, match=match):
        entries(content)


@pytest.mark.parametrize(
    "body",
    [
        varint(1) + varint(0) + varint(0),  # shares with what is not there
        varint(0) + varint(9) + varint(0) + b"short",
        varint(0) + varint(0) + varint(9) + b"short",
        varint(0) + varint(0) + varint((1 << 64) - 1),
        b"\xff" * 12,
    ],
)
@pytest.mark.parametrize("restarts", [0, 1, 1 << 30, (1 << 32) - 1])
def test_damaged_blocks(body: bytes, restarts: int) -> None:
    body += bytes(4) * (restarts == 1) + restarts.to_bytes(4, "little")
    content = sealed(body)
    index = block([(b"z", handle(0, len(body)))])
    footer = handle(0, 0) + handle(len(content), len(index))
    with pytest.raises(WeightError, match="damaged"):
        entries(content + sealed(index) + footer.ljust(40, b"\0") + MAGIC)


def test_every_wrong_byte_of_a_block_is_found() -> None:
    content = table(FEW)
    footer = len(content) - 48
    for at in [*range(footer), footer + 2, footer + 3]:  # before that, a block that holds nothing
        with pytest.raises(WeightError):
            entries(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])


def test_not_too_many_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf_table, "MOST_ENTRIES", 3)
    with pytest.raises(WeightError, match="too many"):
        entries(table(FEW))
