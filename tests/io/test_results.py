"""Files of results: whole or as they were, whatever ends the run."""

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from minincep.io.errors import ResultError
from minincep.io.results import ArrayResults, CsvResults, write_npy
from minincep_kernels.errors import UserError


def rows(*lengths: int) -> dict[str, np.ndarray]:
    return {f"array{n}": np.ones((1, length)) for n, length in enumerate(lengths)}


def test_an_error_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "rows.h5"
    with ArrayResults(path, resume=False) as file:
        file.add(["a"], rows(2, 3))
    before = path.read_bytes()
    with (
        pytest.raises(ResultError, match=r"array1 has rows of shape \(3,\), not \(4,\)"),
        ArrayResults(path, resume=True) as file,
    ):
        file.add(["b"], rows(2, 4))  # the first of the two fits, and is written
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_interruption_keeps_what_is_done(tmp_path: Path) -> None:
    path = tmp_path / "rows.h5"
    with pytest.raises(KeyboardInterrupt), ArrayResults(path, resume=False) as file:  # noqa: PT012
        file.add(["a"], rows(2))
        raise KeyboardInterrupt
    with h5py.File(path) as stored:
        assert stored["images"].shape == (1,)
    assert list(tmp_path.iterdir()) == [path]


class Interrupting(dict[str, Any]):
    """Arrays, and Ctrl-C between the first and the second."""

    def items(self) -> Any:
        return self._items()

    def _items(self) -> Iterator[tuple[str, Any]]:
        for number, item in enumerate(super().items()):
            if number == 1:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            yield item


def test_an_interruption_leaves_no_half_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.h5"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), ArrayResults(path, resume=False) as file:  # noqa: PT012
            file.add(["a"], rows(2, 3))
            file.add(["b"], Interrupting(rows(2, 3)))
    finally:
        signal.signal(signal.SIGINT, before)
    with h5py.File(path) as stored:
        assert {name: len(stored[name]) for name in stored} == {
            "array0": 2,
            "array1": 2,
            "images": 2,
        }
    assert list(tmp_path.iterdir()) == [path]


def links_elsewhere(file: h5py.File) -> None:
    file["embeddings"] = h5py.ExternalLink("other.h5", "/x")


def whole_numbers(file: h5py.File) -> None:
    del file["images"]
    file["images"] = [1, 2]


def a_group(file: h5py.File) -> None:
    file.create_group("embeddings")


def terabytes(file: h5py.File) -> None:
    del file["images"]
    file.create_dataset("images", (2**40,), h5py.string_dtype(), chunks=(1024,))


@pytest.mark.parametrize("damage", [links_elsewhere, whole_numbers, a_group, terabytes])
def test_foreign_files_are_refused(tmp_path: Path, damage: Callable[[h5py.File], None]) -> None:
    path = tmp_path / "results.h5"
    with h5py.File(path, "w") as file:
        file["images"] = ["a.jpg"]
        damage(file)
    before = path.read_bytes()
    with pytest.raises(UserError, match=str(path)):
        ArrayResults(path, resume=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_of_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("image,x\n" + "9" * 200_000 + ",1\n")
    with pytest.raises(ResultError, match="no table of minincep"):
        CsvResults(path, ["x"], resume=True)


def test_lines_reach_the_disk_batch_by_batch(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with CsvResults(path, ["x"], resume=False) as table:
        table.add([["a.png", 1], ["b.png", 2]])
        assert path.read_text() == "image,x\na.png,1\nb.png,2\n"


@pytest.mark.parametrize("length", range(1, 26))
def test_a_cut_off_line_is_written_anew(tmp_path: Path, length: int) -> None:
    """Wherever it is cut, also at the line break inside a name."""
    path = tmp_path / "table.csv"
    names = ["plain.png", 'a\n"b"\nc.png']
    with CsvResults(path, ["x"], resume=False) as table:
        table.add([[name, 1] for name in names])
    whole = path.read_bytes()
    path.write_bytes(whole[:-length])
    with CsvResults(path, ["x"], resume=True) as table:
        table.add([[name, 1] for name in names if name not in table.done])
    assert path.read_bytes() == whole


def csv_file(path: Path) -> None:
    with CsvResults(path, ["x"], resume=False) as table:
        table.add([["a.png", 1]])


def h5_file(path: Path) -> None:
    with ArrayResults(path, resume=False) as file:
        file.add(["a.png"], rows(1))


def npy_file(path: Path) -> None:
    write_npy(path, np.zeros(3))


@pytest.mark.parametrize("write", [csv_file, h5_file, npy_file])
@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("no/such/x", "no/such is not a folder; make it first"),
        ("file/x", "file is not a folder; make it first"),
        ("x" * 300, "name too long; choose another place"),
    ],
)
def test_an_unwritable_place(
    tmp_path: Path, write: Callable[[Path], None], place: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / place
    with pytest.raises(OSError, match=f"^{path} cannot be written: .*{reason}$") as caught:
        write(path)
    assert caught.value.errno
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_an_array_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "old.npy"
    npy_file(path)
    before = path.read_bytes()
    with pytest.raises(Exception, match="pickle"):
        write_npy(path, np.array([lambda: 0], object))  # after its header is
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
