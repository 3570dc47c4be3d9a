"""A small machine: one CPU, 1 GB, no home folder, no terminal, no language."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

PICTURE = Path(__file__).parents[2] / "examples/eggs/pictures/broken.jpg"


def small_machine() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))


@pytest.mark.skipif(sys.platform != "linux", reason="os.sched_setaffinity is Linux's")
def test_a_small_machine(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no folder can be below this")
    places = {
        name: str(file / name.lower())
        for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    }
    unwanted = {"MININCEP_CACHE_DIR", "NUMBA_CACHE_DIR", "LC_ALL", "LC_CTYPE", "PYTHONUTF8"}
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    result = subprocess.run(
        [sys.executable, "-m", "minincep", "classify", PICTURE],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        env=kept | places | {"LANG": "C", "TMPDIR": str(tmp_path)},  # no kernels of earlier runs
        preexec_fn=small_machine,
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == str(PICTURE)
    assert lines[1].endswith("%  broken egg")
    assert result.stderr.count("Warning") == 1, result.stderr
    assert "compiled kernels cannot be kept" in result.stderr
    assert "Traceback" not in result.stderr
