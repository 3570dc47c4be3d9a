"""The function that runs a program, on as many threads as call it.

All threads run the same function over the same table, and agree by two counters for each step:

- `claimed`: chunks that somebody has taken.  Who wants work adds one, and has got the chunk of the
  number that was there before.
- `finished`: chunks that are complete.  Who begins a step first waits until the steps that it reads
  from are complete.

So no thread has a part of its own.  One that is slow, or interrupted by another program, takes
fewer chunks; one that comes late finds nothing left.  A thread that runs out of chunks goes on to the
next step at once, unless that one reads what is still being written: branches that stand side by side
in the network overlap.  And since every number is the same chain of operations whoever works it out,
the result does not depend on who did.

The threads are Python's own (`Team`): they leave the interpreter when they enter the function, and
meet again when the whole network has run, so nothing else is needed - no OpenMP, no thread pool of
Numba's, none of their trouble with forks and with each other.
"""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

from minincep_kernels import Array
from minincep_kernels.jit import kernel
from minincep_kernels.program import products, tiles, windows
from minincep_kernels.program.step import Kind
from minincep_kernels.vectors import padded, whole

_POINTWISE, _DIRECT, _IMPLICIT, _WINOGRAD = (
    int(kind) for kind in (Kind.POINTWISE, Kind.DIRECT, Kind.IMPLICIT, Kind.WINOGRAD)
)
_MAX_POOL, _AVERAGE_POOL, _GLOBAL_AVERAGE, _COPY, _L2_NORMALIZE, _SOFTMAX = (
    int(kind)
    for kind in (
        *(Kind.MAX_POOL, Kind.AVERAGE_POOL, Kind.GLOBAL_AVERAGE),
        *(Kind.COPY, Kind.L2_NORMALIZE, Kind.SOFTMAX),
    )
)

# Counters of two steps lie on two cache lines, so that threads do not fight over one.
CLAIMED, FINISHED, COUNTERS = 0, 8, 16


@intrinsic  # type: ignore[untyped-decorator]  # Numba has no types
def _take(typing: Any, counters: Any, index: Any) -> Any:
    """Add 1 to a counter, and give what it was, whatever other threads do."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", builder.gep(data, [arguments[1]]), whole(1), "acq_rel")

    return types.int64(counters, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _look(typing: Any, counters: Any, index: Any) -> Any:
    """A counter, and all that was written before it was last changed."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.load_atomic(builder.gep(data, [arguments[1]]), "acquire", 8)

    return types.int64(counters, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _pause(typing: Any) -> Any:
    """Tell the CPU that this is a waiting loop, where it knows how to be told."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if "x86" in builder.module.triple:
            name = "llvm.x86.sse2.pause"
            known = builder.module.globals.get(name)
            nothing = ir.FunctionType(ir.VoidType(), [])
            builder.call(known or ir.Function(builder.module, nothing, name), [])
        return context.get_dummy_value()

    return types.void(), generate


@register_jitable  # type: ignore[untyped-decorator]
def rows_of(step: Any, batch: int) -> int:
    """How many rows the chunks of a step share out: pixels, lines of pixels, tiles or pictures."""
    if step.kind == _WINOGRAD:
        down, across = tiles.tiles_of(step)
        return batch * down * across
    if step.kind == _GLOBAL_AVERAGE:
        return batch
    if step.kind in (_DIRECT, _MAX_POOL, _AVERAGE_POOL):
        return batch * step.out_height
    return batch * step.out_height * step.out_width


@register_jitable  # type: ignore[untyped-decorator]
def chunks_of(step: Any, batch: int) -> tuple[int, int]:
    """Chunks of a step along its rows and along its columns."""
    return -(-rows_of(step, batch) // step.rows), -(-step.out_channels // step.columns)


@register_jitable  # type: ignore[untyped-decorator]
def _run_chunk(
    step: Any,
    chunk: int,
    batch: int,
    x: Array,
    weights: Array,
    out: Array,
    scratch: Array,
    scratch_offset: int,
    places: Array,
    places_offset: int,
) -> None:
    down, _ = chunks_of(step, batch)
    across, along = divmod(chunk, down)  # one after the other with the same filters
    total = rows_of(step, batch)
    rows = (along * total // down, (along + 1) * total // down)
    columns = (across * step.columns, min((across + 1) * step.columns, step.out_channels))
    if step.kind == _POINTWISE:
        products.pointwise(step, rows, columns, x, weights, out)
    elif step.kind == _DIRECT:
        products.direct(step, rows, columns, x, weights, out)
    elif step.kind == _IMPLICIT:
        products.implicit(step, rows, columns, x, weights, out, scratch, scratch_offset)
    elif step.kind == _WINOGRAD:
        tiles.winograd(
            step,
            rows,
            columns,
            x,
            weights,
            out,
            scratch,
            scratch_offset,
            places,
            places_offset,
        )
    elif step.kind == _MAX_POOL:
        windows.max_pool(step, rows, x, out)
    elif step.kind == _AVERAGE_POOL:
        windows.average_pool(step, rows, x, weights, out)
    elif step.kind == _GLOBAL_AVERAGE:
        windows.global_average(step, rows, x, out)
    elif step.kind == _COPY:
        windows.copy(step, rows, x, out)
    elif step.kind == _L2_NORMALIZE:
        windows.l2_normalize(step, rows, x, out)
    elif step.kind == _SOFTMAX:
        windows.softmax(step, rows, x, out)


@kernel
def run(
    steps: Array,
    first: int,
    last: int,
    batch: int,
    worker: int,
    weights: Array,
    x: Array,
    out: Array,
    out_scratch: Array,
    out_places: Array,
    out_counters: Array,
) -> None:
    """Steps first to last of a program, one of the threads that share them.

    Parameters
    ----------
    steps
        Array of `STEP`.
    batch
        Pictures.
    worker
        Number of this thread, from 0 on: which row of the scratch memory is its own.
    weights, x, out
        Flat, float32: what the offsets of the steps count from.  In a plan, x and out are one.
    out_scratch
        Flat, float32: of equal length for each thread.
    out_places
        The same for addresses, `tiles.PLACES` for each thread.
    out_counters
        Zeros, `COUNTERS` for each step.
    """
    scratch_offset = worker * step_length(out_scratch, out_places)
    places_offset = worker * tiles.PLACES
    for index in range(first, last):
        step = steps[index]
        for before in range(first, min(step.wait, index)):
            down, across = chunks_of(steps[before], batch)
            while _look(out_counters, before * COUNTERS + FINISHED) < down * across:
                _pause()
        down, across = chunks_of(step, batch)
        while True:
            chunk = _take(out_counters, index * COUNTERS + CLAIMED)
            if chunk >= down * across:
                break
            _run_chunk(
                step,
                chunk,
                batch,
                x,
                weights,
                out,
                out_scratch,
                scratch_offset,
                out_places,
                places_offset,
            )
            _take(out_counters, index * COUNTERS + FINISHED)


@register_jitable  # type: ignore[untyped-decorator]
def step_length(scratch: Array, places: Array) -> int:
    """Floats of scratch memory for each thread."""
    return scratch.size // (places.size // tiles.PLACES)


def scratch_of(step: Any) -> int:
    """Floats of scratch memory that a chunk of a step needs."""
    if step["kind"] == Kind.IMPLICIT:
        return int(step["rows"] * step["kernel_height"] * step["kernel_width"] * step["channels"])
    if step["kind"] == Kind.WINOGRAD:
        _, _, down, across = tiles.SIZES[step["tile"]]
        width = padded(int(min(step["columns"], step["out_channels"])))
        depth = padded(int(step["channels"]))
        return int(down * across * step["rows"] * (depth + width) + width)
    return 0


def together(work: Callable[[int], None], threads: int) -> None:
    """Run work(0), ..., work(threads - 1) at the same time, the first on the calling thread."""
    helpers = [_executor(os.getpid()).submit(work, number) for number in range(1, threads)]
    try:
        work(0)
    finally:
        for helper in helpers:
            helper.result()


@functools.cache
def _executor(process: int) -> ThreadPoolExecutor:
    """Threads of this process: a forked child has none of its parent's.  As many as are wanted."""
    return ThreadPoolExecutor(max_workers=4096, thread_name_prefix="minincep")
