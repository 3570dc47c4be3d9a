"""How many cores there are to use, the one control of the threads that use them, and the caches.

Two libraries run threads here: Numba (our kernels) and the BLAS behind NumPy (matrix products).
They take turns and never nest, so one number serves both.  It starts as the number of cores that
this process may really use: the CPU affinity, a container's CPU quota, and what the user has
asked of OpenMP, Numba or the BLAS by environment variable, whichever is least.
"""

import contextlib
import math
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import threadpoolctl

WISHES = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_threads: int | None = None
_lock = threading.RLock()


def _renew_lock() -> None:
    """In a forked child, the thread that held the lock may not exist."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


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
        group = Path(path.strip("/"))
        if hierarchy == "0":
            mounts, files = [groups], ["cpu.max"]
        elif "cpu" in controllers.split(","):  # mounted as "cpu,cpuacct", mostly with a link "cpu"
            mounts = [groups / "cpu", groups / controllers]
            files = ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        else:
            continue
        for mount in mounts:
            for above in [group, *group.parents]:  # a limit on any group above holds too
                quota = " ".join(_read(mount / above / file) for file in files).split()
                if len(quota) == 2 and all(number.isdecimal() for number in quota):
                    yield int(quota[0]) / int(quota[1])


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True)
class Cache:
    """A cache for data.

    Attributes
    ----------
    level
        1 is the one next to the registers.
    size
        Bytes.
    cores
        Logical cores that share one of them.
    """

    level: int
    size: int
    cores: int


def caches(root: Path = Path("/")) -> list[Cache]:
    """The caches behind the first core, the smallest first; none where the system does not tell.

    Parameters
    ----------
    root
        Where the file system `sys` is mounted; another folder in tests.
    """
    found = _apple_caches() if sys.platform == "darwin" else _linux_caches(root)
    return sorted(found, key=lambda cache: cache.level)


def _linux_caches(root: Path) -> Iterator[Cache]:
    for folder in (root / "sys/devices/system/cpu/cpu0/cache").glob("index*"):
        level, size = (
            _read(folder / "level"),
            re.fullmatch(r"(\d+)([KMG]?)", _read(folder / "size")),
        )
        if level.isdecimal() and size and _read(folder / "type") in ("Data", "Unified"):
            factor = 1 << {"": 0, "K": 10, "M": 20, "G": 30}[size[2]]
            shared = re.findall(r"(\d+)(?:-(\d+))?", _read(folder / "shared_cpu_list"))
            cores = sum(int(last or first) - int(first) + 1 for first, last in shared)
            if int(size[1]):
                yield Cache(int(level), int(size[1]) * factor, max(cores, 1))


def _apple_caches() -> Iterator[Cache]:
    """Those of the fast cores, where there are fast and slow ones."""
    for level, name in ((1, "l1dcachesize"), (2, "l2cachesize"), (3, "l3cachesize")):
        for group in ("perflevel0.", ""):
            size = _sysctl(f"hw.{group}{name}")
            if size:
                shared = _sysctl(f"hw.{group}cpusperl{level}") if group else 0
                yield Cache(level, size, shared or 1)
                break


def _sysctl(name: str) -> int:
    found = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=False)
    return int(found.stdout) if found.stdout.strip().isdecimal() else 0


def _default_threads() -> int:
    # "4,2" asks OpenMP for 4 threads, and 2 more inside each.
    wishes = [os.environ.get(name, "").split(",")[0].strip() for name in WISHES]
    return min(
        [available_cores(), *(int(wish) for wish in wishes if wish.isdecimal() and int(wish))]
    )


def get_num_threads() -> int:
    """Threads that kernels and matrix products run on.

    The first call sets the BLAS threads of the process to the default.
    """
    if _threads is None:
        with _lock:
            if _threads is None:  # no other thread has set it meanwhile
                set_num_threads(_default_threads())
    assert _threads is not None
    return _threads


def set_num_threads(threads: int) -> None:
    """Let kernels and matrix products run on this many threads.

    It holds for the whole process, its BLAS included, for calls from any Python thread.  Kernels
    never run on more threads than Numba was started with (`NUMBA_NUM_THREADS`).  Numba's own limit
    (`numba.set_num_threads`) is overwritten.

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
