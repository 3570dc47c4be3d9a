"""Who is told of compilations, and what is known and removed of the cache."""

from pathlib import Path

import pytest

from minincep_kernels import cache
from tests.kernels.scripts import run

LISTEN = """
import json, tiny
from minincep_kernels import cache
told = []
cache.listener = lambda name, starts: told.append([name, starts])
tiny.check()
print(json.dumps(told))
"""

NAME = "triple-" + "0123456789abcdef" * 2 + ".kernel"


def test_told_of_compilations_and_of_nothing_else(tmp_path: Path) -> None:
    compiled = [["double", True], ["double", False]]
    assert run(tmp_path, LISTEN).values == compiled
    assert run(tmp_path, LISTEN).values == []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "kernels"
    folder.mkdir()
    monkeypatch.setattr(cache, "cache_folder", lambda: folder)
    return folder


def test_only_our_files_are_removed(folder: Path, tmp_path: Path) -> None:
    ours = sorted(folder / NAME.replace("kernel", kind) for kind in ("checked", "kernel", "native"))
    for path in ours:
        path.write_bytes(b"1234")
    outside = tmp_path / "precious.kernel"
    outside.write_text("precious")
    kept = [
        folder / "notes.txt",
        folder / "triple.kernel",
        folder / f"{NAME}.0123",
        folder / f"{NAME}.txt",
    ]
    for path in kept:
        path.write_text("not ours")
    link = folder / NAME.replace("triple", "link")
    link.symlink_to(outside)
    (folder / NAME.replace("triple", "folder")).mkdir()
    inside = folder / "inside" / NAME
    inside.parent.mkdir()
    inside.write_text("not ours")

    assert cache.kept() == ours
    assert cache.clear() == ours
    assert not any(path.exists() for path in ours)
    assert all(path.exists() for path in [outside, link, inside, *kept])
    assert cache.clear() == []


def test_a_folder_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "cache_folder", lambda: None)
    assert cache.kept() == cache.clear() == []


def test_a_file_that_another_process_removes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "kept", lambda: [folder / NAME])
    assert cache.clear() == [folder / NAME]
