"""New arrays that kernels like: aligned, with room behind the end, in memory that stays.

NumPy's own arrays begin anywhere in a cache line, so that every vector of 64 bytes lies in two.

A training step needs the same memory again and again.  The C library gives large arrays back to the
system at once, which clears each page that it hands out anew, and small ones lie in small pages, of
which a core can find only so many without looking further.  `keep_memory` changes both; the most
memory that a process takes hardly changes by that.
"""

import contextlib
import ctypes
import functools
import math
import os
from typing import Any

import numpy as np

from minincep_kernels import Array

LINE = 64  # bytes in a cache line
SLACK = 256  # bytes behind the end, so that kernels may read a vector over it


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """An array with anything in it, as `numpy.empty` gives.

    It begins with a cache line, and there are `SLACK` bytes behind its end that may be read.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + LINE + SLACK, np.uint8)
    start = -memory.ctypes.data % LINE
    array: Array = memory[start : start + size].view(dtype).reshape(shape)
    return array


# Numbers of glibc's `mallopt`.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_WISHES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


@functools.cache
def keep_memory() -> bool:
    """Keep what is freed from now on, to be used again, until this process ends: -> whether it is.

    Only GNU's C library can be told so; and not if the user has told it something by environment
    variable.
    """
    if any(name in os.environ for name in _WISHES):
        return False
    try:
        import resource  # Unix only

        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018  (other libraries have no such function)
    except (AttributeError, ImportError, OSError):
        return False
    for name, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1)):
        library.mallopt(name, value)
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        # Addresses for what is to come, no memory yet.  NumPy asks the system for large pages in a
        # large array, so all that will lie there is in them, small arrays, too.
        with contextlib.suppress(MemoryError):
            np.empty(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4, np.uint8)
    return True
