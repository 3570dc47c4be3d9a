"""Arrays that end where memory ends: who reads on is killed, in a child process.

Nothing shows that a number was read and then not used, but that it could not be read.
"""

import ctypes
import mmap
import os
import signal
import traceback
import warnings
from collections.abc import Callable

import numpy as np
import pytest

from minincep_kernels import Array

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")


def at_the_end(values: Array) -> Array:
    """A copy of an array; behind its last number no memory can be read or written."""
    page = mmap.PAGESIZE
    size = -(-values.nbytes // page) * page
    memory = mmap.mmap(-1, size + page)
    copy = np.frombuffer(memory, values.dtype, values.size, size - values.nbytes)
    copy = copy.reshape(values.shape)
    copy[...] = values
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    function = ctypes.CDLL(None, use_errno=True).mprotect
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    assert function(start + size, page, 0) == 0, os.strerror(ctypes.get_errno())
    return copy


def check_in_child(work: Callable[[], None]) -> None:
    """Call a function in a forked child, and see it end well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that fork and threads mix badly
        child = os.fork()
    if child == 0:
        try:
            for number in (signal.SIGSEGV, signal.SIGBUS):  # no report of pytest's
                signal.signal(number, signal.SIG_DFL)
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert not os.WIFSIGNALED(status), f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    assert status == 0
