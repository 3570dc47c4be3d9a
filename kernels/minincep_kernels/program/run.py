"""The function that runs a program, on as many threads as call it.

All threads run the same function over the same table, and agree by two counters for each step:

- `claimed`: chunks that somebody has taken.  Who wants work adds one, and has got the chunk of the
  number that was there before.
- `finished`: chunks that are complete.  Who begins a step first waits until the steps that it reads
  from are complete.

So no thread has a part of its own.  One that is slow, or interrupted by another program, takes
fewer chunks; one that comes late finds nothing left.  A thread that runs out of chunks goes on to
the next step at once, unless that one reads what is still being written: branches that stand side
by side in the network overlap.  And since every number is the same chain of operations whoever
works it out, the result does not depend on who did.

The threads are Python's own (`runner`).  They leave the interpreter when they enter the function,
and meet again when the whole network has run.  So nothing else is needed: no OpenMP, no thread pool
of Numba's, none of their trouble with forks and with each other.
"""

from typing import Any

from llvmlite import ir
from numba import carray, from_dtype, types
from numba.core.compiler import Flags, compile_extra
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from minincep_kernels.jit import inlined
from minincep_kernels.microkernel import COLUMNS
from minincep_kernels.program import products, tiles, windows
from minincep_kernels.program.memory import Memory
from minincep_kernels.program.step import CLAIMED, COUNTERS, FINISHED, STEP, Kind
from minincep_kernels.vectors import INT, all_routines, padded, whole

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

FAR = 1 << 40  # elements of an array of which only the start is known
_kept: list[Any] = []


@intrinsic  # type: ignore[untyped-decorator]  # Numba has no types
def _take(typing: Any, counters: Any, index: Any) -> Any:
    """Add 1 to a counter, and give what it was, whatever other threads do."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.gep(builder.inttoptr(arguments[0], ir.PointerType(INT)), [arguments[1]])
        return builder.atomic_rmw("add", place, whole(1), "acq_rel")

    return types.int64(types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _look(typing: Any, counters: Any, index: Any) -> Any:
    """A counter, and all that was written before it was last changed."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.gep(builder.inttoptr(arguments[0], ir.PointerType(INT)), [arguments[1]])
        return builder.load_atomic(place, "acquire", 8)

    return types.int64(types.int64, types.int64), generate


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


@inlined
def rows_of(step: Any, batch: int) -> int:
    """How many rows the chunks of a step share out: pixels, lines of pixels, tiles or pictures."""
    rows: int = batch * step.out_height * step.out_width
    if step.kind == _WINOGRAD:
        down, across = tiles.tiles_of(step)
        rows = batch * down * across
    elif step.kind == _GLOBAL_AVERAGE:
        rows = batch
    elif step.kind in (_DIRECT, _MAX_POOL, _AVERAGE_POOL):
        rows = batch * step.out_height
    return rows


@inlined
def chunks_of(step: Any, batch: int) -> tuple[int, int]:
    """Chunks of a step along its rows and along its columns."""
    return -(-rows_of(step, batch) // step.rows), -(-step.out_channels // step.columns)


@inlined
def _run_chunk(step: Any, chunk: int, batch: int, memory: Memory) -> None:
    down, wide = chunks_of(step, batch)
    across, along = divmod(chunk, down)  # one after the other with the same filters
    total, panels = rows_of(step, batch), -(-step.out_channels // COLUMNS)
    rows = (along * total // down, (along + 1) * total // down)
    columns = (
        across * panels // wide * COLUMNS,
        min((across + 1) * panels // wide * COLUMNS, step.out_channels),
    )
    if step.kind == _POINTWISE:
        products.pointwise(step, rows, columns, memory)
    elif step.kind == _DIRECT:
        products.direct(step, rows, columns, memory)
    elif step.kind == _IMPLICIT:
        products.implicit(step, rows, columns, memory)
    elif step.kind == _WINOGRAD:
        tiles.winograd(step, rows, columns, memory)
    elif step.kind == _MAX_POOL:
        windows.max_pool(step, rows, memory)
    elif step.kind == _AVERAGE_POOL:
        windows.average_pool(step, rows, memory)
    elif step.kind == _GLOBAL_AVERAGE:
        windows.global_average(step, rows, memory)
    elif step.kind == _COPY:
        windows.copy(step, rows, memory)
    elif step.kind == _L2_NORMALIZE:
        windows.l2_normalize(step, rows, memory)
    elif step.kind == _SOFTMAX:
        windows.softmax(step, rows, memory)


def run(
    steps: Any,
    first: int,
    last: int,
    batch: int,
    weights: Any,
    x: Any,
    out: Any,
    scratch: Any,
    places: Any,
    counters: Any,
) -> None:
    """Steps first to last of a program, on one of the threads that share them.

    Everything is an address: `native` compiles this to a function that needs no Python.

    Parameters
    ----------
    steps
        Array of `STEP`.
    batch
        Pictures.
    weights, x, out
        float32: what the offsets of the steps count from.  In a plan, x and out are one.
    scratch
        This thread's own, float32, `scratch_of` the steps.
    places
        This thread's own, int64, `PLACES` of them.
    counters
        int64, zeros, `COUNTERS` for each step.
    """
    table = carray(steps, FAR)
    memory = Memory(x, out, weights, scratch, places, all_routines())
    for index in range(first, last):
        step = table[index]
        for before in range(first, min(step.wait, index)):
            down, across = chunks_of(table[before], batch)
            while _look(counters, before * COUNTERS + FINISHED) < down * across:
                _pause()
        down, across = chunks_of(step, batch)
        while True:
            chunk = _take(counters, index * COUNTERS + CLAIMED)
            if chunk >= down * across:
                break
            _run_chunk(step, chunk, batch, memory)
            _take(counters, index * COUNTERS + FINISHED)


def compiled() -> tuple[str, bytes, int]:
    """Compile `run`: -> its name in machine code, the code as an object file, its address here."""
    number = types.int64
    arguments = (types.CPointer(from_dtype(STEP)), *[number] * 9)
    typing, target = cpu_target.typing_context, cpu_target.target_context
    typing.refresh()
    target.refresh()
    flags = Flags()
    flags.nrt = True  # which Numba asks for wherever there are arrays
    flags.error_model = "numpy"
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    result = compile_extra(typing, target, run, arguments, types.void, flags, {})
    name = result.fndesc.llvm_func_name
    _, _, (code, _) = result.library.serialize_using_object_code()
    _kept.append(result.library)  # its memory holds the code
    return name, code, result.library.get_pointer_to_function(name)


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
