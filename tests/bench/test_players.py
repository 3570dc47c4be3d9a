"""Processes of engines: what they hold, and what their results differ by."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minincep.bench.players import difference, memory, peak_memory


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_memory_is_that_of_the_process() -> None:
    before = peak_memory()
    ballast = np.ones(50_000_000, np.uint8)
    after = peak_memory()
    assert before is not None
    assert after is not None
    assert after >= before
    assert after > ballast.nbytes / 1e6


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_memory_of_another_process_is_its_own() -> None:
    script = "import sys; x = bytearray(300_000_000); print(1, flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe) as child:
        assert child.stdout is not None
        child.stdout.readline()
        held, peak = (memory(field, child.pid) for field in ("VmRSS", "VmHWM"))
        child.communicate()
    assert held is not None
    assert peak is not None
    assert 300 < held <= peak < 400


def test_differences_are_in_standard_deviations() -> None:
    wanted = np.array([[-2, 2]], np.float32)
    assert difference(wanted, wanted) == 0
    assert difference(wanted + np.float32(1), wanted) == 0.5
    assert difference(wanted[:, :1], wanted) == np.inf
    assert np.isnan(difference(wanted * np.float32("nan"), wanted))
