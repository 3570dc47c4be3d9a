"""What this machine can do at most: multiply-adds from registers, and floats from each cache.

A kernel that does F operations on B bytes takes at least F / peak seconds and at least B /
bandwidth seconds: the larger of both is its roof (Williams, Waterman and Patterson 2009,
"Roofline", CACM 52(4)).  Both are measured here, for a number of threads, since neither is in any
data sheet of a machine that one shares with others.  The bandwidth is that of the place from which
the bytes must come: memory, or the smallest cache that holds them all.

And they are measured again and again, in between what is held against them.  A CPU lowers its clock
while its vector units are busy, and what the neighbours do counts, too: here the peak of a quiet
moment was a quarter above that of the next minute.
"""

import functools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minincep_kernels import Array, machine
from minincep_kernels.intrinsics import add, load, splat, store
from minincep_kernels.jit import kernel
from minincep_kernels.machine import Cache
from minincep_kernels.microkernel import ROWS, VECTORS
from minincep_kernels.program.runner import together
from minincep_kernels.vectors import LANES, Emitter, address, is_flat

MEMORY = 1 << 26  # floats that are read for the bandwidth, at least
COUNT = 1 << 20  # rounds of multiply-adds: some milliseconds
AWAKE = 4  # times that on several threads, so that it counts for little how long they take to wake
TRIES = 8  # at most, until each of them has had a core of its own
BUSY = 0.9  # of the cores, at least: then each of them has
FROM_CACHE = 1 << 27  # floats that a thread reads from a cache, over and over: the same


@dataclass(frozen=True)
class Level:
    """What some threads can read from their caches of one level.

    Attributes
    ----------
    name
        Such as "L2".
    size
        Bytes that these caches hold together.
    bandwidth
        Bytes a second.
    """

    name: str
    size: int
    bandwidth: float


@dataclass(frozen=True)
class Roof:
    """What the machine can do on some threads.

    Attributes
    ----------
    flops
        Floating-point operations a second; a multiply-add is two.
    bandwidth
        Bytes a second, read from memory.
    levels
        The caches, the smallest first, if they were measured.
    """

    flops: float
    bandwidth: float
    levels: tuple[Level, ...] = ()

    def source(self, size: float) -> Level | None:
        """The smallest caches that hold so many bytes; None is memory."""
        return next((level for level in self.levels if size <= level.size), None)

    def seconds(self, flops: float, size: float, *, cached: bool = False) -> float:
        """The least time for so many operations on so many bytes.

        Parameters
        ----------
        cached
            Whether the bytes are where they were used last, not in memory.
        """
        return max(flops / self.flops, size / self._bandwidth(size, cached))

    def bound(
        self, flops: float, size: float, *, cached: bool = False
    ) -> Literal["compute", "bandwidth"]:
        """Which roof is the lower one."""
        compute = flops / self.flops
        return "compute" if compute > size / self._bandwidth(size, cached) else "bandwidth"

    def _bandwidth(self, size: float, cached: bool) -> float:
        level = self.source(size) if cached else None
        return level.bandwidth if level else self.bandwidth


@intrinsic  # type: ignore[untyped-decorator]  # Numba has no types
def _multiply_add(typing: Any, count: Any, out: Any) -> Any:
    """As many multiply-adds as a register tile has sums, `count` times, on registers alone."""
    if not is_flat(out):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        count, out = arguments
        name = "minincep_peak"
        pointer = address(context, builder, signature.args[1], out, ir.Constant(count.type, 0))
        kind = ir.FunctionType(ir.VoidType(), [count.type, pointer.type])
        function = ir.Function(builder.module, kind, name)
        function.linkage = "internal"
        emit = Emitter(function)
        factor = emit.load(function.args[1])
        sums = [emit.load(emit.at(function.args[1], i * LANES)) for i in range(ROWS * VECTORS)]
        sums = emit.loop(
            function.args[0],
            sums,
            lambda _, state: [emit.multiply_add(factor, factor, total) for total in state],
        )
        for i, total in enumerate(sums):
            emit.store(total, emit.at(function.args[1], i * LANES))
        emit.builder.ret_void()
        builder.call(function, [count, pointer])
        return context.get_dummy_value()

    return types.void(types.int64, out), generate


@kernel
def _compute(count: int, out: Array) -> None:
    _multiply_add(count, out)


@kernel
def _read(x: Array, first: int, last: int, times: int, out: Array) -> None:
    """Sum of x[first:last], so many times, vector by vector, in eight sums."""
    a = b = c = d = e = f = g = h = splat(np.float32(0))
    for _ in range(times):
        for start in range(first, last - 8 * LANES + 1, 8 * LANES):
            a = add(a, load(x, start))
            b = add(b, load(x, start + LANES))
            c = add(c, load(x, start + 2 * LANES))
            d = add(d, load(x, start + 3 * LANES))
            e = add(e, load(x, start + 4 * LANES))
            f = add(f, load(x, start + 5 * LANES))
            g = add(g, load(x, start + 6 * LANES))
            h = add(h, load(x, start + 7 * LANES))
    store(out, 0, add(add(add(a, b), add(c, d)), add(add(e, f), add(g, h))))


class Gauge:
    """Measures the roof on so many threads, as often as one likes.

    Parameters
    ----------
    caches
        Those whose bandwidths are measured, too; `machine.caches()` knows what there are.

    Attributes
    ----------
    samples
        What was measured: flops and bandwidths a second.
    """

    def __init__(self, threads: int, caches: Sequence[Cache] = ()) -> None:
        self.threads = threads
        self._sums = np.ones((threads, ROWS * VECTORS * LANES), np.float32)
        self._caches = [(cache, -(-threads // cache.cores)) for cache in caches]  # how many of it
        self.samples: list[list[float]] = []
        self._compute(1)  # the first time compiles

    def take(self) -> None:
        """Measure once more; it takes some hundredths of a second."""
        self.samples.append(self._measure())

    def flush(self) -> None:
        """Put other numbers into all caches: read more than they hold.

        Writing would leave numbers that must go to memory first, at the cost of who comes next.
        """
        self._read(self._memory.size // self.threads, 1)

    @property
    def roof(self) -> Roof:
        """The medians of what was taken, at least once."""
        return self.roof_since(0)

    def roof_since(self, first: int) -> Roof:
        """The medians of the samples from one on."""
        flops, bandwidth, *others = map(float, np.median(self.samples[first:], axis=0))
        levels = [
            Level(f"L{cache.level}", cache.size * count, speed)
            for (cache, count), speed in zip(self._caches, others, strict=True)
        ]
        return Roof(flops, bandwidth, tuple(levels))

    def compute(self) -> float:
        """Operations a second, measured now.

        Threads that have just woken up may share a core for a while: then once more.
        """
        if self.threads == 1:
            return self._compute(COUNT)
        best = 0.0
        for _ in range(TRIES):
            start, used = time.perf_counter(), time.process_time()
            best = max(best, self._compute(AWAKE * COUNT))
            seconds, used = time.perf_counter() - start, time.process_time() - used
            if used > BUSY * self.threads * seconds:
                break
        return best

    def _compute(self, count: int) -> float:
        start = time.perf_counter()
        together(lambda worker: _compute.serial(count, self._sums[worker]), self.threads)
        return 2 * count * self._sums.size / (time.perf_counter() - start)

    @functools.cached_property
    def _memory(self) -> Array:
        """Floats that no cache holds, made when they are first needed."""
        memory = np.ones(memory_floats(machine.caches()), np.float32)
        _read.serial(memory, 0, memory.size, 1, self._sums[0])  # the first time compiles
        return memory

    def _measure(self) -> list[float]:
        found = [self.compute(), self._read(self._memory.size // self.threads, 1)]
        below = 0
        for cache, count in self._caches:
            # In floats: half of it, but of a huge one that others use, too, not more than is enough
            # for the one below to hold little of it.
            share = min(cache.size * count // (2 * 4 * self.threads), below or cache.size)
            found.append(self._read(share, max(1, FROM_CACHE // share)))
            below = cache.size  # that is 4 times as many bytes as the one below holds
        return found

    def _read(self, share: int, times: int) -> float:
        """Bytes a second that the threads read, each from a part of its own of so many floats."""

        def read(worker: int) -> None:
            first = worker * share
            _read.serial(self._memory, first, first + share, times, self._sums[worker])

        start = time.perf_counter()
        together(read, self.threads)
        return 4 * share * times * self.threads / (time.perf_counter() - start)


def memory_floats(caches: Sequence[Cache]) -> int:
    """Twice what the largest cache holds, but at most a quarter of the memory that there is."""
    wanted = max(MEMORY, *(2 * cache.size // 4 for cache in caches), 0)
    if not hasattr(os, "sysconf"):
        return wanted
    return min(wanted, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (4 * 4))
