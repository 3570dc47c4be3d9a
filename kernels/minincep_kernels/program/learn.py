"""What the convolutions of a training step need beyond those of a plan, a chunk at a time.

Filters change at each step, so they are packed, and transformed for Winograd's convolution, anew:

- *Pack*: filters as the panels that `microkernel` reads; for the input gradient those of the turned
  filters, rotated by 180 degrees and with input and output channels exchanged.
- *Transform filters*: from packed filters to packed products.

Filter gradients are sums of outer products over all pixels (`outer`), in two ways:

- *Taps*: tap after tap, of the images where they lie.
- *Products*: of transformed images and output gradients, for Winograd's convolution
  (`winograd_gradient`), or of the images themselves for 1 x 1 filters.

Sums are taken `BLOCK` pixels at a time, all rows and columns of a chunk for a block, so that the
pixels come from the level-2 cache.  Where blocks begin depends on the shape alone, so the result
depends on neither threads nor chunks.
"""

from typing import Any

import numpy as np

from minincep_kernels.intrinsics import address_of, get, load, load_first, put, put_place, store
from minincep_kernels.jit import inlined
from minincep_kernels.microkernel import COLUMNS, ROWS
from minincep_kernels.outer import outer
from minincep_kernels.program.loop import compile_program, program
from minincep_kernels.program.memory import Memory
from minincep_kernels.program.products import Pair
from minincep_kernels.program.task import TASK, Task
from minincep_kernels.program.tiles import SIZES, find_inputs, tile_position, up
from minincep_kernels.transpose import transpose
from minincep_kernels.vectors import LANES, table_of
from minincep_kernels.winograd import transform_input
from minincep_kernels.winograd_gradient import (
    transform_filter_gradient,
    transform_filters,
    transform_output_gradient,
)

BLOCK = 192  # terms of a sum that are worked out at a time
LINE = 16  # floats in a cache line
FAR_APART = 100  # floats from pixel to pixel, from which on a copy of what a tile reads pays
WIDTH = -(-ROWS // LANES) * LANES  # floats that the rows of a tile take in scratch memory
DEPTHS = 32  # rows of packed filters in a chunk of TRANSFORM_FILTERS

(
    _PACK,
    _TRANSFORM_FILTERS,
    _TRANSFORM_INPUT,
    _TRANSFORM_OUTPUT_GRADIENT,
    _PRODUCTS,
    _TRANSFORM_FILTER_GRADIENT,
    _TAPS,
) = (int(kind) for kind in Task)


@inlined
def _part(index: int, parts: int, total: int) -> Pair:
    """First and last of an even share."""
    return index * total // parts, (index + 1) * total // parts


@inlined
def _pack(task: Any, chunk: int, memory: Memory) -> None:
    """One tap of one panel of the filters (KH KW, C, OC)."""
    taps = task.kernel_height * task.kernel_width
    panel, tap = divmod(chunk, taps)
    column = panel * COLUMNS
    count = min(COLUMNS, task.columns - column)
    width = min(COLUMNS, up(task.columns - column))
    place = task.out_offset + column * taps * task.rows + tap * task.rows * width
    if task.turned:
        source = task.in_offset + ((taps - 1 - tap) * task.columns + column) * task.rows
        _pack_turned(task, source, place, count, width, memory)
        return
    source = task.in_offset + tap * task.rows * task.columns + column
    for k in range(task.rows):
        line = source + k * task.columns
        if count == width:
            for j in range(0, width, LANES):
                store(memory.out, place + k * width + j, load(memory.x, line + j))
        else:
            for j in range(width):
                number = np.float32(0)
                if j < count:
                    number = get(memory.x, line + j)
                put(memory.out, place + k * width + j, number)


@inlined
def _pack_turned(
    task: Any, source: int, place: int, count: int, width: int, memory: Memory
) -> None:
    """Columns that lie in rows: square by square, and what is left over number by number."""
    squares = (task.rows // LANES * LANES, count // LANES * LANES)
    for k in range(0, squares[0], LANES):
        for j in range(0, squares[1], LANES):
            transpose(
                *(memory.routines, memory.x, source + j * task.rows + k, task.rows),
                *(memory.out, place + k * width + j, width),
            )
    for k in range(task.rows):
        for j in range(squares[1] if k < squares[0] else 0, width):
            number = np.float32(0)
            if j < count:
                number = get(memory.x, source + j * task.rows + k)
            put(memory.out, place + k * width + j, number)


@inlined
def _transform_filters(task: Any, chunk: int, memory: Memory) -> None:
    """Some rows of one panel of packed filters (taps, rows, columns)."""
    taps = task.kernel_height * task.kernel_width
    blocks = -(-task.rows // DEPTHS)
    panel, block = divmod(chunk, blocks)
    column = panel * COLUMNS
    width = min(COLUMNS, up(task.columns - column))
    source = task.in_offset + column * taps * task.rows
    place = task.out_offset + column * task.rows
    first, last = _part(block, blocks, task.rows)
    for k in range(first, last):
        for tap in range(taps):
            offset = source + (tap * task.rows + k) * width
            put_place(memory.places, tap, address_of(memory.x, offset))
        transform_filters(
            *(memory.routines, task.tile, memory.places, memory.out, place + k * width),
            *(task.rows * up(task.columns), width),
        )


@inlined
def _transform_input(task: Any, chunk: int, memory: Memory) -> None:
    """Some tiles of the images."""
    first, last = _part(chunk, task.chunks, task.depth)
    pitch = up(task.channels)
    for index in range(first, last):
        find_inputs(task, index, memory)
        transform_input(
            *(memory.routines, task.tile, memory.places, 0),
            *(memory.out, task.out_offset + index * pitch, task.depth * pitch, task.channels),
        )


@inlined
def _transform_output_gradient(task: Any, chunk: int, memory: Memory) -> None:
    """Some tiles of the output gradient; what lies outside the picture is zero."""
    first, last = _part(chunk, task.chunks, task.depth)
    pitch = up(task.out_channels)
    down, across, _, _ = SIZES[task.tile]
    nothing = address_of(memory.weights, 0)
    for index in range(first, last):
        image, top, left = tile_position(task, index)
        place = 0
        for h in range(top, top + down):
            start = (image * task.out_height + h) * task.out_width
            for w in range(left, left + across):
                put_place(memory.places, place, nothing)
                if h < task.out_height and w < task.out_width:
                    offset = task.gy_offset + (start + w) * task.gy_pitch
                    put_place(memory.places, place, address_of(memory.x, offset))
                place += 1
        transform_output_gradient(
            *(memory.routines, task.tile, memory.places, memory.out),
            *(task.out_offset + index * pitch, task.depth * pitch, task.out_channels),
        )


@inlined
def _gather(rows: Pair, x: int, x_steps: Pair, counts: Pair, memory: Memory) -> None:
    """Copy some channels of a block of pixels to scratch memory, as the tiles will read them.

    A tile takes but a part of each pixel, and where pixels are long, the CPU does not see what
    comes next.  Here it reads all that a chunk needs of a pixel, and the tiles read what lies in a
    row: (tiles, pixels, WIDTH).
    """
    height = _height(rows)
    size = counts[0] * counts[1] * WIDTH
    for line in range(counts[0]):
        for k in range(counts[1]):
            pixel = x + line * x_steps[0] + k * x_steps[1]
            place = (line * counts[1] + k) * WIDTH
            for row in range(rows[0], rows[1], height):
                left = min(height, rows[1] - row)
                for lane in range(0, WIDTH, LANES):  # more than one where vectors are short
                    part = load_first(memory.x, pixel + row + lane, left - lane)
                    store(memory.scratch, place + lane, part)
                place += size


@inlined
def _height(rows: Pair) -> int:
    """Rows of a tile, but for the last, which has what is left."""
    count = rows[1] - rows[0]
    tiles = -(-count // ROWS)
    return -(-count // tiles)


@inlined
def _multiply(
    task: Any,
    rows: Pair,
    columns: Pair,
    x: int,
    x_steps: Pair,
    gy: int,
    gy_steps: Pair,
    counts: Pair,
    out: int,
    more: int,
    memory: Memory,
) -> None:
    """Add up some rows and columns over (lines, pixels in a line), tile by tile."""
    height = _height(rows)
    source, start, between, steps = memory.x, x + rows[0], height, x_steps
    if x_steps[1] > FAR_APART:
        _gather(rows, x, x_steps, counts, memory)
        source, start, between = memory.scratch, 0, counts[0] * counts[1] * WIDTH
        steps = (counts[1] * WIDTH, WIDTH)
    for column in range(columns[0], columns[1], COLUMNS):
        tile, later = start, COLUMNS if column + COLUMNS < columns[1] else 0
        for row in range(rows[0], rows[1], height):
            outer(
                memory.routines,
                min(height, rows[1] - row),
                *(source, tile, steps),
                *(memory.x, gy + column, gy_steps),
                counts,
                *(memory.out, out + row * task.columns + column, task.columns),
                min(COLUMNS, columns[1] - column),
                more,
                later,
            )
            tile += between
            # A tile fetches a line of the cache for each pixel: the first tiles, the next panel.
            later = later + LINE if 0 < later < 2 * COLUMNS - LINE else 0


@inlined
def _chunk(task: Any, chunk: int) -> tuple[int, Pair, Pair]:
    """Which matrix, and which of its rows and columns; columns begin with panels."""
    down, across = -(-task.rows // task.chunk_rows), -(-task.columns // task.chunk_columns)
    matrix, part = divmod(chunk, down * across)
    i, j = divmod(part, across)
    first = j * task.chunk_columns
    return matrix, _part(i, down, task.rows), (first, min(first + task.chunk_columns, task.columns))


@inlined
def _products(task: Any, chunk: int, memory: Memory) -> None:
    """Part of one of the matrices: x (matrices, depth, rows), gy (matrices, depth, columns)."""
    matrix, rows, columns = _chunk(task, chunk)
    x = task.in_offset + matrix * task.depth * task.in_pitch
    gy = task.gy_offset + matrix * task.depth * task.gy_pitch
    out = task.out_offset + matrix * task.rows * task.columns
    blocks = -(-task.depth // BLOCK)
    for block in range(blocks):
        first, last = _part(block, blocks, task.depth)
        _multiply(
            task,
            rows,
            columns,
            x + first * task.in_pitch,
            (0, task.in_pitch),
            gy + first * task.gy_pitch,
            (0, task.gy_pitch),
            (1, last - first),
            out,
            max(task.more, min(block, 1)),
            memory,
        )


@inlined
def _within(start: int, stride: int, count: int, length: int) -> Pair:
    """First and last of `count` places, start + i stride, that are from 0 to below length."""
    first = max(0, -(start // stride))
    return first, min(count, -((start - length) // stride))


@inlined
def _taps(task: Any, chunk: int, memory: Memory) -> None:
    """Part of the filters: some input and some output channels, at all taps.

    A block is some lines of a picture.  At each tap it is clipped to what lies inside the picture.
    """
    _, rows, columns = _chunk(task, chunk)
    lines = max(1, BLOCK // task.out_width)
    blocks = -(-task.out_height // lines)
    for image in range(task.batch):
        for block in range(blocks):
            top, bottom = _part(block, blocks, task.out_height)
            for u in range(task.kernel_height):
                start = top * task.stride_height + u - task.top
                down = _within(start, task.stride_height, bottom - top, task.height)
                for v in range(task.kernel_width):
                    left = v - task.left
                    across = _within(left, task.stride_width, task.out_width, task.width)
                    if down[0] >= down[1] or across[0] >= across[1]:
                        continue
                    h = image * task.height + start + down[0] * task.stride_height
                    w = left + across[0] * task.stride_width
                    i = image * task.out_height + top + down[0]
                    tap = u * task.kernel_width + v
                    _multiply(
                        task,
                        rows,
                        columns,
                        task.in_offset + (h * task.width + w) * task.in_pitch,
                        (
                            task.stride_height * task.width * task.in_pitch,
                            task.stride_width * task.in_pitch,
                        ),
                        task.gy_offset + (i * task.out_width + across[0]) * task.gy_pitch,
                        (task.out_width * task.gy_pitch, task.gy_pitch),
                        (down[1] - down[0], across[1] - across[0]),
                        task.out_offset + tap * task.rows * task.columns,
                        1,
                        memory,
                    )


@inlined
def _transform_filter_gradient(task: Any, chunk: int, memory: Memory) -> None:
    """Some input channels of the filters, from the products (products, rows, columns)."""
    taps = task.kernel_height * task.kernel_width
    size = task.rows * task.columns
    first, last = _part(chunk, task.chunks, task.rows)
    for row in range(first, last):
        for tap in range(taps):
            offset = task.out_offset + tap * size + row * task.columns
            put_place(memory.places, tap, address_of(memory.out, offset))
        transform_filter_gradient(
            *(memory.routines, task.tile, memory.places, memory.x),
            *(task.in_offset + row * task.columns, size, task.columns),
        )


@inlined
def _run_chunk(task: Any, chunk: int, batch: int, memory: Memory) -> None:
    if task.kind == _PACK:
        _pack(task, chunk, memory)
    elif task.kind == _TRANSFORM_FILTERS:
        _transform_filters(task, chunk, memory)
    elif task.kind == _TRANSFORM_INPUT:
        _transform_input(task, chunk, memory)
    elif task.kind == _TRANSFORM_OUTPUT_GRADIENT:
        _transform_output_gradient(task, chunk, memory)
    elif task.kind == _PRODUCTS:
        _products(task, chunk, memory)
    elif task.kind == _TRANSFORM_FILTER_GRADIENT:
        _transform_filter_gradient(task, chunk, memory)
    elif task.kind == _TAPS:
        _taps(task, chunk, memory)


def scratch_of(task: Any) -> int:
    """Floats of scratch memory that a chunk of a task needs."""
    if task["kind"] not in (Task.PRODUCTS, Task.TAPS):
        return 0
    pixels = max(BLOCK, int(task["out_width"])) if task["kind"] == Task.TAPS else BLOCK
    return -(-int(task["chunk_rows"]) // ROWS) * pixels * WIDTH


@inlined
def _count(task: Any, batch: int) -> int:
    chunks: int = task.chunks
    return chunks


learn = program(_count, _run_chunk, table_of("outer", "transpose", "winograd_input", "gradient"))


def compiled() -> tuple[str, bytes, int]:
    """`learn`: its name in machine code, the code as an object file, its address here."""
    return compile_program(learn, TASK)
