"""Scripts that run in a process of their own, because they may crash, or need a fresh one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import minincep_kernels

PACKAGE = Path(minincep_kernels.__file__).parent

TINY = """
import json, os, sys
import numpy as np
from numba import prange
from minincep_kernels import cache, jit, machine
from minincep_kernels.jit import kernel

@kernel
def double(x, out):
    for i in prange(x.size):
        out[i] = 2 * x[i]

def check():
    x = np.arange(1000, dtype=np.float32)
    y = np.zeros_like(x)
    double(x, y)
    assert (y == 2 * x).all(), y

def report(kernel=double):
    stats = [dispatcher.stats for dispatcher in kernel._dispatchers.values()]
    print(json.dumps({
        "hits": sum(sum(s.cache_hits.values()) for s in stats),
        "misses": sum(sum(s.cache_misses.values()) for s in stats),
    }))
"""

USE = "import tiny; tiny.check(); tiny.report()"


class Report(NamedTuple):
    """What a script printed as its last line, and what it said on standard error."""

    values: Any
    errors: str


def start(folder: Path, script: str, *options: str, **environ: str) -> subprocess.Popen[str]:
    """Start a script beside `tiny.py`, with a home, a cache and a temporary folder of its own.

    Warnings are errors, and it runs on one thread, which compiles fastest, unless told otherwise.
    """
    (folder / "tiny.py").write_text(TINY)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "OMP_"))}
    places = [str(folder), str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    mine = {
        "PYTHONPATH": os.pathsep.join(filter(None, places)),
        "PYTHONDONTWRITEBYTECODE": "1",  # an edit within the same second is seen
        "MININCEP_CACHE_DIR": str(folder / "cache"),
        "XDG_CACHE_HOME": str(folder / "home"),
        "TMPDIR": str(folder),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, *(options or ["-W", "error"]), "-c", script],
        env=kept | mine | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> Report:
    try:
        output, errors = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == 0, (process.returncode, output, errors)
    return Report(json.loads((output.splitlines() or ["null"])[-1]), errors)


def run(folder: Path, script: str, *options: str, **environ: str) -> Report:
    return finish(start(folder, script, *options, **environ))
