"""How many cores there are to use, and the one control of the threads that use them.

Two libraries run threads here: Numba (our kernels) and the BLAS behind NumPy (matrix products).
They take turns and never nest, so one number serves both.  It starts as the number of cores that
this process may really use: the CPU affinity, a container's CPU quota, and what the user has
asked of OpenMP or Numba by environment variable, whichever is least.
"""

import contextlib
import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import threadpoolctl

_threads: int | None = None
_lock = threading.Lock()


def available_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use, at least 1: CPU affinity, then the container's CPU quota.

    Parameters
    ----------
    root
        Where the file systems `proc` and `sys` are mounted; another folder in tests.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _cpu_quotas(root))]))


def _cpu_quotas(root: Path) -> Iterator[float]:
    """CPU quotas, in cores, of the control groups that this process is in (Linux, v2 then v1)."""
    groups = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        hierarchy, controllers, path = line.split(":", 2)
        here = path.strip("/")
        if hierarchy == "0":  # v2: a limit on any group above holds too
            for group in [Path(here), *Path(here).parents]:
                limit, _, period = _read(groups / group / "cpu.max").partition(" ")
                if limit.isdigit() and period.isdigit():
                    yield int(limit) / int(period)
        elif "cpu" in controllers.split(","):  # a container may see its own group as the root
            for folder in [groups / "cpu" / here, groups / "cpu"]:
                limit = _read(folder / "cpu.cfs_quota_us")
                period = _read(folder / "cpu.cfs_period_us")
                if limit.isdigit() and period.isdigit():
                    yield int(limit) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _default_threads() -> int:
    wishes = [os.environ.get(name, "") for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")]
    return min([available_cores(), *(int(wish) for wish in wishes if wish.isdigit() and int(wish))])


def get_num_threads() -> int:
    """Threads that kernels and matrix products run on.

    The first call sets the BLAS threads of the process to the default.
    """
    if _threads is None:
        set_num_threads(_default_threads())
    assert _threads is not None
    return _threads


def set_num_threads(threads: int) -> None:
    """Let kernels and matrix products run on this many threads.

    It holds for the whole process, its BLAS included, for calls from any Python thread.  Kernels
    never run on more threads than Numba was started with (`NUMBA_NUM_THREADS`).

    Raises
    ------
    ValueError
        If `threads` is not a whole number of at least 1.
    """
    global _threads
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads must be a whole number of at least 1, got {threads!r}")
    with _lock:
        # Called, not used as a context manager: the limit is to stay.
        threadpoolctl.threadpool_limits(limits=threads, user_api="blas")
        _threads = threads


@contextlib.contextmanager
def num_threads(threads: int) -> Iterator[None]:
    """Within the `with` block, run on this many threads (the whole process does)."""
    before = get_num_threads()
    set_num_threads(threads)
    try:
        yield
    finally:
        set_num_threads(before)
