"""Heaps with wrong lengths, some of which the HDF5 library never gets to the end of."""

import io
import struct
from pathlib import Path

import h5py
import pytest

from minincep.io import hdf5_heaps
from minincep.io.errors import WeightError
from minincep.io.hdf5 import open_file
from minincep.io.hdf5_heaps import HEADER, check_heaps


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    """A file with texts in a heap, as h5py writes it."""
    path = tmp_path / "good.h5"
    with h5py.File(path, "w") as file:
        for number in range(8):
            file.attrs[f"text{number}"] = number * "abc"
    return path.read_bytes()


def check(content: bytes) -> None:
    check_heaps(Path("net.h5"), io.BytesIO(content))


def changed(content: bytes, at: int, layout: str, *values: int) -> bytes:
    """The heap with other numbers, `at` bytes after its beginning."""
    result = bytearray(content)
    struct.pack_into(layout, result, content.index(b"GCOL") + at, *values)
    return bytes(result)


def test_a_good_file(content: bytes, tmp_path: Path) -> None:
    check(content)
    with open_file(tmp_path / "good.h5") as file:
        assert file.attrs["text2"] == "abcabc"


FIRST = HEADER.size


@pytest.mark.parametrize(
    ("at", "layout", "values"),
    [
        (8, "<Q", [0]),
        (8, "<Q", [15]),
        (8, "<Q", [1 << 32]),
        (8, "<Q", [(1 << 64) - 1]),
        (FIRST + 8, "<Q", [1 << 40]),
        (FIRST + 8, "<Q", [0x0400_0000_0000_00B1]),
        (FIRST + 8, "<Q", [(1 << 64) - 1]),
        (FIRST + 8, "<Q", [(1 << 64) - 16]),
        (FIRST, "<H6xQ", [0, 0]),  # nothing is left, and takes no place: the library stands still
        (FIRST, "<H6xQ", [0, 15]),
    ],
)
def test_wrong_lengths(
    content: bytes, tmp_path: Path, at: int, layout: str, values: list[int]
) -> None:
    path = tmp_path / "net.h5"
    path.write_bytes(changed(content, at, layout, *values))
    with pytest.raises(WeightError, match="damaged HDF5 file, its heap at byte"), open_file(path):
        pass


def test_cut_short(content: bytes) -> None:
    with pytest.raises(WeightError, match="its heap at byte"):
        check(content[: content.index(b"GCOL") + 20])


def test_objects_without_end(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5_heaps, "MOST_OBJECTS", 5)
    with pytest.raises(WeightError, match="its heap at byte"):
        check(content)


@pytest.mark.parametrize("shift", range(-16, 4))
def test_a_heap_on_the_edge_of_a_piece(
    content: bytes, monkeypatch: pytest.MonkeyPatch, shift: int
) -> None:
    monkeypatch.setattr(hdf5_heaps, "PIECE", content.index(b"GCOL") - shift)
    check(content)
    with pytest.raises(WeightError, match="its heap at byte"):
        check(changed(content, 8, "<Q", 0))


def test_several(content: bytes) -> None:
    check(content + content)
    with pytest.raises(WeightError, match="its heap at byte"):
        check(content + changed(content, 8, "<Q", 0))
