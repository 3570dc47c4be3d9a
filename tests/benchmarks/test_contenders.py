"""Conversion for engines that do not read the file as it is: once, and whole or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.contenders import CONTENDERS, Contender, prepared


class Reader(Contender):
    name = "reader"
    packages = ("numpy",)


class Converted(Reader):
    """Writes two files; with an empty source it fails between them."""

    converter = "numpy"

    @staticmethod
    def convert(source: Path, folder: Path, size: int) -> None:
        (folder / "size").write_text(str(size))
        if not source.read_text():
            raise RuntimeError("nothing to convert")
        (folder / "copy").write_text(source.read_text())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "network.onnx"
    path.write_text("weights")
    os.utime(path, (0, 0))
    return path


def test_conversion_is_done_once(source: Path, tmp_path: Path) -> None:
    folder = prepared(Converted, source, tmp_path / "cache", 160)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "size": "160",
        "copy": "weights",
    }
    (folder / "copy").write_text("kept")
    assert prepared(Converted, source, tmp_path / "cache", 160) == folder
    assert (folder / "copy").read_text() == "kept"


def test_conversion_is_done_again_when_the_source_is_newer(source: Path, tmp_path: Path) -> None:
    folder = prepared(Converted, source, tmp_path / "cache", 160)
    source.write_text("new weights")
    later = folder.stat().st_mtime + 1
    os.utime(source, (later, later))
    assert prepared(Converted, source, tmp_path / "cache", 160) == folder
    assert (folder / "copy").read_text() == "new weights"


def test_a_failed_conversion_leaves_nothing(source: Path, tmp_path: Path) -> None:
    source.write_text("")
    with pytest.raises(RuntimeError, match="nothing to convert"):
        prepared(Converted, source, tmp_path / "cache", 160)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
    source.write_text("weights")
    assert (prepared(Converted, source, tmp_path / "cache", 160) / "copy").exists()


def test_what_is_read_as_it_is_needs_no_cache(source: Path, tmp_path: Path) -> None:
    assert prepared(Reader, source, tmp_path / "cache", 160) == source
    assert not (tmp_path / "cache").exists()


def test_an_engines_process_imports_no_other_engine() -> None:
    script = "import sys, benchmarks.peers; print(*sys.modules)"
    root = Path(__file__).parents[2]
    modules = subprocess.run(
        [sys.executable, "-c", script], cwd=root, check=True, capture_output=True, text=True
    ).stdout.split()
    assert "numpy" in modules
    assert not {"numba", "h5py", "onnxruntime", "onnx", "torch"} & set(modules)
    assert len({contender.name for contender in CONTENDERS}) == len(CONTENDERS)
