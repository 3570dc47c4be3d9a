"""Threads for programs, and the memory that they need while they run."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from minincep_kernels import Array, machine
from minincep_kernels.program import native
from minincep_kernels.program.step import COUNTERS, PLACES


class Runner:
    """Runs the steps of a program on all threads; used by one Python thread at a time.

    Parameters
    ----------
    steps
        Array of `STEP`.
    scratch
        Floats of scratch memory that a thread needs, the most that `run.scratch_of` says.
    """

    def __init__(self, steps: Any, scratch: int) -> None:
        self.steps = steps
        self._floats = -(-scratch // 16) * 16
        self._counters = np.zeros(len(steps) * COUNTERS, np.int64)
        self._scratch = aligned(0).reshape(0, 0)
        self._places = np.zeros((0, PLACES), np.int64)

    def __call__(
        self, first: int, last: int, batch: int, weights: Array, x: Array, out: Array
    ) -> None:
        """Run steps first to last for so many pictures.

        Parameters
        ----------
        weights, x, out
            Flat, float32: what the offsets of the steps count from.  In a plan, x and out are one.
        """
        threads = machine.get_num_threads()
        if len(self._places) != threads:
            self._scratch = aligned(threads * self._floats).reshape(threads, -1)
            self._places = np.zeros((threads, PLACES), np.int64)
        self._counters[:] = 0
        run = native.function()

        def work(worker: int) -> None:
            arrays = (weights, x, out, self._scratch[worker], self._places[worker], self._counters)
            addresses = (array.ctypes.data for array in arrays)
            run(self.steps.ctypes.data, first, last, batch, *addresses)

        together(work, threads)


def aligned(floats: int) -> Array:
    """Zeros that begin where a cache line does: -> (floats,) of float32."""
    room = np.zeros(floats + 16, np.float32)
    start = -(room.ctypes.data // 4) % 16
    return room[start : start + floats]


def together(work: Callable[[int], None], threads: int) -> None:
    """Run work(0), ..., work(threads - 1) at the same time, the first on the calling thread."""
    helpers = [_executor(os.getpid()).submit(work, number) for number in range(1, threads)]
    try:
        work(0)
    finally:
        wait(helpers)
        for helper in helpers:
            helper.result()


@functools.cache
def _executor(process: int) -> ThreadPoolExecutor:
    """Threads of this process: a forked child has none of its parent's.  As many as are wanted."""
    return ThreadPoolExecutor(max_workers=4096, thread_name_prefix="minincep")
