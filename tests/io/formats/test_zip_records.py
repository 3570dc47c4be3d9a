"""Zip files: where records are, and what is wrong with a file."""

import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from minincep.io.errors import WeightError
from minincep.io.formats.source import opened
from minincep.io.formats.zip_records import LONGEST_LIST, records


def write(path: Path, content: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_where_records_are(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a": b"12345", "b/c": b"", "ä": b"xyz" * 1000})
    with opened(path) as source:
        found = records(source)
        assert {name: record.span.content(9999) for name, record in found.items()} == {
            "a": b"12345",
            "b/c": b"",
            "ä": b"xyz" * 1000,
        }
        assert not any(record.deflated for record in found.values())
        for record in found.values():
            record.check()


def test_deflated(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a": b"x" * 5000}, zipfile.ZIP_DEFLATED)
    with opened(path) as source:
        record = records(source)["a"]
        assert (record.deflated, record.size) == (True, 5000)
        inflated = zlib.decompress(record.span.content(999), -15)
        record.compare(zlib.crc32(inflated))
        with pytest.raises(WeightError, match="checksum of 'a' is another one"):
            record.compare(zlib.crc32(inflated) ^ 1)


def test_records_of_more_than_4_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive, archive.open("a", "w", force_zip64=True) as record:
        record.write(b"12345")
    # 64-bit sizes in the list, too, as PyTorch writes them
    name, extra = b"a", struct.pack("<HHQQQ", 1, 24, 5, 5, 0)
    content = path.read_bytes()
    start = content.index(b"PK\1\2")
    listed = bytearray(content[start : start + 46])
    struct.pack_into("<LLHH", listed, 20, 0xFFFFFFFF, 0xFFFFFFFF, 1, len(extra))
    struct.pack_into("<L", listed, 42, 0xFFFFFFFF)
    listing = bytes(listed) + name + extra
    end64 = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(listing), start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, start + len(listing), 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(content[:start] + listing + end64 + locator + end)
    with opened(path) as source:
        assert records(source)["a"].span.content(9) == b"12345"


def test_two_of_one_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a1": b"1", "a2": b"2"})
    path.write_bytes(path.read_bytes().replace(b"a2", b"a1"))
    with pytest.raises(WeightError, match="two records are called 'a1'"), opened(path) as source:
        records(source)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression(tmp_path: Path, method: int) -> None:
    path = write(tmp_path / "a.zip", {"a": b"1"}, method)
    with pytest.raises(WeightError, match="a way that is not known"), opened(path) as source:
        records(source)


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (8, b"\x01", "is encrypted"),
        (20, b"\x09", "a record should begin here"),  # stored in another length than it has
        (42, b"\x01", "a record should begin here"),
        (42, b"\xff\xff\xff\x7f", "zip file that cannot be read|bytes should follow"),
    ],
)
def test_lists_that_lie(tmp_path: Path, offset: int, value: bytes, message: str) -> None:
    path = write(tmp_path / "a.zip", {"a": b"12345"})
    content = bytearray(path.read_bytes())
    start = content.index(b"PK\1\2") + offset
    content[start : start + len(value)] = value
    path.write_bytes(content)
    with pytest.raises(WeightError, match=message), opened(path) as source:
        records(source)


def test_a_record_that_ends_after_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a": b"12345"})
    content = bytearray(path.read_bytes())
    struct.pack_into("<LL", content, content.index(b"PK\1\2") + 20, 1 << 30, 1 << 30)
    path.write_bytes(content)
    with pytest.raises(WeightError, match="bytes should follow"), opened(path) as source:
        records(source)


def test_a_list_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    size = LONGEST_LIST + 1
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(0, 2)
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, size, 0, 0))
    with (
        pytest.raises(WeightError, match="a list of records of 4,194,305 bytes"),
        opened(path) as source,
    ):
        records(source)


def test_no_zip_file(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for content in (b"", b"PK\3\4", b"PK\5\6" + bytes(5), bytes(100)):
        path.write_bytes(content)
        with (
            pytest.raises(WeightError, match="a zip file that cannot be read"),
            opened(path) as source,
        ):
            records(source)
