"""Threads for programs, and the memory that they need while they run."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from minincep_kernels import Array, machine
from minincep_kernels.program import crew, native
from minincep_kernels.program.step import COUNTERS, PLACES


class Room:
    """Memory that threads need while they run, which grows and is used again and again."""

    def __init__(self) -> None:
        self._own: list[tuple[int, int]] = []
        self._scratch = aligned(0).reshape(0, 0)

    def grow(self, threads: int, floats: int) -> list[tuple[int, int]]:
        """Make room for so many threads, with so many floats of scratch memory each.

        Returns
        -------
        list
            For each thread, where its scratch memory and its places begin.  The same list as
            before, if they have not moved.
        """
        if len(self._own) != threads or self._scratch.shape[1] < floats:
            floats = max(-(-floats // 16) * 16, self._scratch.shape[1])
            self._scratch = aligned(threads * floats).reshape(threads, floats)
            self._places = np.zeros((threads, PLACES), np.int64)
            pairs = zip(self._scratch, self._places, strict=True)
            self._own = [(scratch.ctypes.data, places.ctypes.data) for scratch, places in pairs]
        return self._own


class Runner:
    """Runs the steps of a program on all threads; used by one Python thread at a time.

    Parameters
    ----------
    steps
        Array of `STEP`; of `TASK`, if the program is "learn".
    scratch
        Floats of scratch memory that a thread needs, the most that `run.scratch_of` says.
    program
        Which: the name of its module.
    room
        Memory to use; its own, if none is given.
    """

    def __init__(
        self, steps: Any, scratch: int, program: str = "run", room: Room | None = None
    ) -> None:
        self._steps = steps
        self._floats = scratch
        self._program = program
        self._counters = np.zeros(len(steps) * COUNTERS, np.int64)
        self._room = room or Room()
        self._own: list[tuple[int, int]] = []
        self._arguments = np.zeros((0, crew.ARGUMENTS), np.int64)

    def __call__(
        self, first: int, last: int, batch: int, weights: Array, x: Array | int, out: Array | int
    ) -> None:
        """Run steps first to last for so many pictures.

        Parameters
        ----------
        weights, x, out
            Flat, float32: what the offsets of the steps count from.  In a plan, x and out are one.
            0 stands for the address 0.
        """
        crew.run(self.job(first, last, batch, weights, x, out))

    def job(
        self, first: int, last: int, batch: int, weights: Array, x: Array | int, out: Array | int
    ) -> crew.Job:
        """The same, to be run by `crew.run` before the next is asked for."""
        own = self._room.grow(machine.get_num_threads(), self._floats)
        if own is not self._own:
            steps, counters = self._steps.ctypes.data, self._counters.ctypes.data
            self._arguments = np.array([(steps, *[0] * 6, *pair, counters) for pair in own])
            self._own = own
        shared = [a if isinstance(a, int) else a.ctypes.data for a in (weights, x, out)]
        self._arguments[:, 1:7] = (first, last, batch, *shared)
        self._counters.fill(0)
        return crew.Job(native.function(self._program), self._arguments)


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
