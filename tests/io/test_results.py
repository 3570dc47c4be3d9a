"""Files of results: whole or as they were, whatever ends the run."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from minincep.io.errors import ResultError
from minincep.io.results import ArrayResults, CsvResults
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
