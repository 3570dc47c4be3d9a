"""`minincep verify` prints what stands in the file, and nothing else happens."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from tests import small_reference

COMMAND = [sys.executable, "-c", "from minincep.cli import main; main()", "verify"]


@pytest.mark.parametrize(("encoding", "accent"), [("utf-8", "é"), ("ascii", "?")])
def test_names_are_text_whatever_they_look_like(tmp_path: Path, encoding: str, accent: str) -> None:
    path = tmp_path / "small.h5"
    small_reference.write(path)
    with h5py.File(path, "r+") as file:
        file[f"cases/{small_reference.CASE}"].attrs["witness"] = "[/x] é \x1b[31m"
        file.move(f"cases/{small_reference.CASE}", "cases/[bold]é")
    environment = os.environ | {
        "PYTHONIOENCODING": encoding,
        "COLUMNS": "30",
        "NUMBA_NUM_THREADS": "1",
    }
    result = subprocess.run(
        [*COMMAND, path], capture_output=True, encoding=encoding, env=environment
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert f"[bold]{accent}, plan, against [/x] {accent} " in result.stdout
    assert "\x1b" not in result.stdout
    assert "Repeat_1/block17_1" in result.stdout
