"""Parts of files: bounded, and clear about failures."""

import io
import os
from pathlib import Path

import pytest

from minincep.io.errors import WeightError
from minincep.io.formats.source import Source, opened


def test_parts_lie_within_what_they_are_part_of(tmp_path: Path) -> None:
    whole = Source(tmp_path, io.BytesIO(bytes(range(100)))).whole()
    part = whole.part(10, 20)
    assert (len(whole), len(part)) == (100, 20)
    assert part.part(15, 15).content(15) == bytes(range(15, 30))
    for start, length in [(9, 5), (15, 16), (31, 0), (10, -1), (-1, 5), (15, 1 << 70)]:
        with pytest.raises(WeightError, match=f"damaged at byte {start:,}: {length:,} bytes"):
            part.part(start, length)


def test_pieces(tmp_path: Path) -> None:
    part = Source(tmp_path, io.BytesIO(bytes(range(100)))).whole().part(10, 25)
    assert [len(piece) for piece in part.pieces(10)] == [10, 10, 5]
    assert b"".join(part.pieces(10)) == bytes(range(10, 35))


def test_content_is_not_longer_than_it_may_be(tmp_path: Path) -> None:
    whole = Source(tmp_path, io.BytesIO(bytes(100))).whole()
    assert whole.content(100) == bytes(100)
    with pytest.raises(WeightError, match="100 bytes, where at most 99 make sense"):
        whole.content(99)


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "net"
    path.write_bytes(bytes(100_000))
    with opened(path) as source:
        os.truncate(path, 10)
        with pytest.raises(WeightError, match="the file ends here"):
            list(source.whole().pieces())


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(WeightError, match="there is no such file"), opened(tmp_path / "none"):
        pass
    with pytest.raises(WeightError, match="is a folder"), opened(tmp_path):
        pass
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WeightError, match="is no ordinary file"), opened(tmp_path / "pipe"):
        pass


def test_a_file_that_fails(tmp_path: Path) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    source = Source(tmp_path / "net", Failing(bytes(10)))
    with pytest.raises(WeightError, match=r"net cannot be read: Input/output error"):
        source.read(0, 5)
