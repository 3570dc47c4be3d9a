"""`minincep cache`, and what a terminal says while kernels are compiled."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernels.scripts import PACKAGE, TINY

MAIN = [sys.executable, "-m", "minincep"]

SUFFIXES = (".kernel", ".native", ".checked")

COMPILE = """
import sys
sys.path.insert(0, {folder!r})
import tiny
from minincep.cli.compiling import announced
with announced():
    tiny.check()
"""


def run(*arguments: object, **environ: str) -> str:
    result = subprocess.run(
        [*MAIN, *map(str, arguments)], capture_output=True, text=True, env=os.environ | environ
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def facts(text: str) -> dict[str, str]:
    return {line[:13].strip(): line[14:] for line in text.splitlines()}


def test_an_empty_cache(tmp_path: Path) -> None:
    environ = {"MININCEP_CACHE_DIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "home")}
    environ["TMPDIR"] = str(tmp_path)  # kernels are read from there, too
    found = facts(run("cache", "info", **environ))
    assert found == {
        "folder": str(tmp_path / "kernels"),
        "files": "0",
        "size": "0.0 MB",
        "for plans": "missing; 'minincep cache warm' compiles it",
    }
    assert run("cache", "clear", **environ) == "nothing to remove\n"


def test_a_warm_cache() -> None:
    run("cache", "warm")
    assert run("cache", "warm") == "all kernels were there\n"
    found = facts(run("cache", "info"))
    assert found["for plans"] == "there"
    files = [path for path in Path(found["folder"]).iterdir() if path.suffix in SUFFIXES]
    assert int(found["files"]) == len(files) > 0
    size = sum(file.stat().st_size for file in files)
    assert found["size"] == f"{size / 1e6:.1f} MB"


def test_clear_says_what_it_removes(tmp_path: Path) -> None:
    environ = {"MININCEP_CACHE_DIR": str(tmp_path)}
    folder = Path(facts(run("cache", "info", **environ))["folder"])
    ours = folder / f"triple-{'0' * 32}.kernel"
    ours.write_bytes(b"1")
    (folder / "precious").write_bytes(b"1")
    assert run("cache", "clear", **environ) == f"removed {ours}\n"
    assert [path.name for path in folder.iterdir()] == ["precious"]


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal")
def test_a_terminal_is_told_and_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text(TINY)
    script = COMPILE.format(folder=str(tmp_path))
    said = []
    for run_number, terminal in enumerate([True, True, False]):
        cache = tmp_path / ("one" if run_number < 2 else "two")  # the second run compiles nothing
        environ = {"MININCEP_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
        environ["PYTHONPATH"] = os.pathsep.join([str(PACKAGE.parent), *sys.path])
        master, slave = os.openpty()
        result = subprocess.run(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            stderr=slave if terminal else subprocess.PIPE,
            env=os.environ | environ,
        )
        os.close(slave)
        os.set_blocking(master, False)
        try:
            text = os.read(master, 10_000).decode()
        except OSError:  # nothing was written
            text = ""
        os.close(master)
        assert result.returncode == 0, result.stderr
        said.append(text if terminal else result.stderr.decode())
    first, second, third = said
    assert first.startswith(
        "compiling kernels for this CPU, once: 1, double ...\r\ncompiled double"
    )
    assert second == third == ""
