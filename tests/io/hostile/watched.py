"""Hostile files are read in a process of its own, that is watched and has little memory."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
TOOLS = ROOT / "tools/sources"
SAMPLES = ROOT / "tests/data/sources"


def outcomes(folder: Path, paths: Iterable[Path]) -> list[dict[str, Any]]:
    """What comes of reading some files, in the words of `tools/sources/fuzz_child.py`.

    Parameters
    ----------
    folder
        Of the files; nothing else may be opened.
    """
    work, empty = folder / "work", folder / "empty"
    work.mkdir()
    empty.mkdir()
    result = subprocess.run(
        [sys.executable, TOOLS / "fuzz_child.py", "0", work, empty, SAMPLES],
        input="".join(f"{path}\n" for path in paths),
        capture_output=True,
        text=True,
        env=os.environ | {"NUMBA_NUM_THREADS": "1", "TMPDIR": str(empty), "PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()[1:]]


def run_script(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script that can import the tools."""
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"NUMBA_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
