"""What this machine can do at most: multiply-adds from registers, and floats from memory.

A kernel that does F operations on B bytes takes at least F / peak seconds and at least B /
bandwidth seconds: the larger of both is its roof (Williams, Waterman and Patterson 2009,
"Roofline", CACM 52(4)).  Both are measured here, for a number of threads, since neither is in any
data sheet of a machine that one shares with others.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minincep_kernels import Array
from minincep_kernels.jit import kernel
from minincep_kernels.microkernel import ROWS, VECTORS
from minincep_kernels.program.runner import together
from minincep_kernels.vectors import LANES, Emitter, add, address, is_flat, load, splat, store

MEMORY = 1 << 26  # floats that are read for the bandwidth: more than most caches hold
ROUNDS = 7  # the best of so many counts: others use this machine, too


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


def _best(work: Callable[[int], None], threads: int) -> float:
    """The least seconds that all threads together took."""
    together(work, threads)
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        together(work, threads)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@functools.cache
def roof(threads: int) -> Roof:
    """Measure what this machine can do on so many threads; it takes a second or so."""
    sums = np.ones((threads, ROWS * VECTORS * LANES), np.float32)
    count = 1 << 20
    seconds = _best(lambda worker: _compute.serial(count, sums[worker]), threads)
    flops = 2 * count * sums.size / seconds
    memory = np.ones(MEMORY, np.float32)

    def read(worker: int) -> None:
        first, last = worker * MEMORY // threads, (worker + 1) * MEMORY // threads
        _read.serial(memory, first, last, sums[worker])

    return Roof(flops, memory.nbytes / _best(read, threads))
