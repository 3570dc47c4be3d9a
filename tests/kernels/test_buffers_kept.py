"""`keep_memory`: in processes of its own, for it is for good."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc, and counts by Linux")

SCRIPT = """
import resource, sys
import numpy as np
from minincep_kernels import buffers

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

size = 64 << 20
kept = buffers.keep_memory() if "keep" in sys.argv else False
for turn in range(3):
    before = faults()
    buffers.empty((size,), np.uint8)[:] = turn
small = [buffers.empty((1 << 16,), np.uint8) for _ in range(64)]
print(kept, faults() - before)
"""


def last_faults(*arguments: str, **environ: str) -> tuple[bool, int]:
    """Whether memory is kept, and page faults of writing to an array as large as the one before."""
    environment = {n: v for n, v in os.environ.items() if n not in buffers_wishes()}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        env=environment | environ,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, faults = run.stdout.split()
    return kept == "True", int(faults)


def buffers_wishes() -> tuple[str, ...]:
    from minincep_kernels import buffers

    return buffers._WISHES


def test_memory_is_not_got_anew() -> None:
    assert last_faults("keep") == (True, pytest.approx(0, abs=8))
    kept, faults = last_faults()
    assert not kept
    assert faults > 20


@pytest.mark.parametrize(
    "wish", [{"MALLOC_MMAP_MAX_": "9"}, {"GLIBC_TUNABLES": "glibc.malloc.check=0"}], ids=str
)
def test_who_has_set_something_is_left_alone(wish: dict[str, str]) -> None:
    kept, _ = last_faults("keep", **wish)
    assert not kept


def test_limited_addresses_are_left_for_others() -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
    room = "\nimport mmap; mmap.mmap(-1, 2 << 30)"
    subprocess.run([sys.executable, "-c", limit + SCRIPT + room, "keep"], check=True)
