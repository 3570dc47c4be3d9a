"""What this machine can do at most: multiply-adds from registers, and floats from memory.

A kernel that does F operations on B bytes takes at least F / peak seconds and at least B /
bandwidth seconds: the larger of both is its roof (Williams, Waterman and Patterson 2009,
"Roofline", CACM 52(4)).  Both are measured here, for a number of threads, since neither is in any
data sheet of a machine that one shares with others.

And they are measured again and again, in between what is held against them.  A CPU lowers its clock
while its vector units are busy, and what the neighbours do counts, too: here the peak of a quiet
moment was a quarter above that of the next minute.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minincep_kernels import Array
from minincep_kernels.intrinsics import add, load, splat, store
from minincep_kernels.jit import kernel
from minincep_kernels.microkernel import ROWS, VECTORS
from minincep_kernels.program.runner import together
from minincep_kernels.vectors import LANES, Emitter, address, is_flat

MEMORY = 1 << 26  # floats that are read for the bandwidth: more than most caches hold
COUNT = 1 << 20  # rounds of multiply-adds: some milliseconds


@dataclass(frozen=True)
class Roof:
    """What the machine can do on some threads.

    Attributes
    ----------
    flops
        Floating-point operations a second; a multiply-add is two.
    bandwidth
        Bytes a second, read from memory.
    """

    flops: float
    bandwidth: float

    def seconds(self, flops: float, size: float) -> float:
        """The least time for so many operations on so many bytes."""
        return max(flops / self.flops, size / self.bandwidth)


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
def _read(x: Array, first: int, last: int, out: Array) -> None:
    """Sum of x[first:last], vector by vector, in eight sums."""
    a = b = c = d = e = f = g = h = splat(np.float32(0))
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
    """Measures the roof on so many threads, as often as one likes."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._sums = np.ones((threads, ROWS * VECTORS * LANES), np.float32)
        self._memory = np.ones(MEMORY, np.float32)
        self._samples: list[tuple[float, float]] = []
        self._measure()  # the first time compiles

    def take(self) -> None:
        """Measure once more; it takes some hundredths of a second."""
        self._samples.append(self._measure())

    @property
    def roof(self) -> Roof:
        """The medians of what was taken, at least once."""
        flops, bandwidth = np.median(self._samples, axis=0)
        return Roof(float(flops), float(bandwidth))

    def _measure(self) -> tuple[float, float]:
        start = time.perf_counter()
        together(self._compute, self.threads)
        middle = time.perf_counter()
        together(self._read, self.threads)
        end = time.perf_counter()
        return 2 * COUNT * self._sums.size / (middle - start), self._memory.nbytes / (end - middle)

    def _compute(self, worker: int) -> None:
        _compute.serial(COUNT, self._sums[worker])

    def _read(self, worker: int) -> None:
        first, last = (part * MEMORY // self.threads for part in (worker, worker + 1))
        _read.serial(self._memory, first, last, self._sums[worker])
