"""The steps of plans: which function does a chunk of each, and how many chunks there are."""

from typing import Any

from minincep_kernels.jit import inlined
from minincep_kernels.microkernel import COLUMNS
from minincep_kernels.program import products, tiles, windows
from minincep_kernels.program.loop import compile_program, program
from minincep_kernels.program.memory import Memory
from minincep_kernels.program.step import STEP, Kind
from minincep_kernels.vectors import all_routines, padded

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


@inlined
def _count(step: Any, batch: int) -> int:
    down, across = chunks_of(step, batch)
    return down * across


run = program(_count, _run_chunk, all_routines)


def compiled() -> tuple[str, bytes, int]:
    """`run`: its name in machine code, the code as an object file, its address here."""
    return compile_program(run, STEP)


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
