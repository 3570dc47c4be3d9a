"""Convolution as register tiles, in three ways that differ in where a pixel's patch comes from.

- *Pointwise* (1 x 1, stride 1): a patch is a pixel.  The picture is the matrix.
- *Direct* (no padding): a line of patches, stride after stride along a line of the picture, is read
  where it lies, tap after tap: at each tap the pixels are evenly spaced, which is all that a tile
  asks for.
- *Implicit* (anything): the patches of a few rows of tiles are copied into scratch memory, zeros
  where they reach over the edge.  The whole matrix of columns, KH KW times the picture, is never
  there: hence the name, implicit im2col.

A chunk is some rows and some columns (output channels) of the result.  It goes from panel to panel
of the filters, and for each over all its rows: the rows are few enough to stay in the level-2
cache, and the filters, which come from memory, are fetched once.
"""

from typing import Any, NamedTuple

import numpy as np

from minincep_kernels.intrinsics import get, put
from minincep_kernels.jit import inlined
from minincep_kernels.microkernel import COLUMNS, ROWS, height_of, tile
from minincep_kernels.program.memory import Memory

Pair = tuple[int, int]  # first, last


class Patches(NamedTuple):
    """Evenly spaced patches in memory.

    Attributes
    ----------
    array, offset, stride
        Patch r begins at `offset` + r `stride` floats from the address `array`.
    taps, steps, depth
        It has (KH, KW) taps, so many floats apart in the two directions, of `depth` floats each.
    """

    array: int
    offset: int
    stride: int
    taps: Pair
    steps: Pair
    depth: int


class Rows(NamedTuple):
    """Evenly spaced rows of memory: the first is so many floats from an address.

    An offset below 0 stands for nothing.
    """

    array: int
    offset: int
    stride: int


@inlined
def floor_of(step: Any) -> np.float32:
    """What the result of a step is at least: 0 with a ReLU."""
    return np.float32(0) if step.relu else np.float32(-np.inf)


@inlined
def panel(
    memory: Memory,
    patches: Patches,
    count: int,
    filters: int,
    bias: int,
    out: Rows,
    residual: Rows,
    columns: int,
    floor: np.float32,
    part: Pair,
    new: bool,
) -> None:
    """Patches by one panel of filters: -> some columns of as many rows.

    Meanwhile the next panel, which lies behind this one, is asked for: each tile of pixels fetches
    its share, so that memory and arithmetic are busy all the time.  `part` says which of how many
    calls with this panel it is.  If the pixels are `new`, not yet used with another panel, each
    tile asks for those of the next instead.
    """
    taps = patches.taps[0] * patches.taps[1] * patches.depth
    tiles = -(-count // ROWS)
    later_step = -(-COLUMNS // (tiles * part[1]))
    for index in range(tiles):
        row = index * count // tiles
        later = filters + (COLUMNS + (part[0] * tiles + index) * later_step) * taps
        if new:
            later = (patches.array - memory.weights) // 4 + patches.offset
            later += (row + height_of(index, tiles, count)) * patches.stride
        tile(
            memory.routines,
            height_of(index, tiles, count),
            patches.array,
            patches.offset + row * patches.stride,
            patches.stride,
            patches.taps,
            patches.steps,
            patches.depth,
            memory.weights,
            filters,
            bias,
            out.array,
            out.offset + row * out.stride,
            out.stride,
            residual.offset + row * residual.stride if residual.offset >= 0 else -1,
            residual.stride,
            columns,
            floor,
            later,
            ROWS if new else later_step,
        )


@inlined
def _multiply(
    step: Any,
    memory: Memory,
    patches: Patches,
    count: int,
    column: int,
    first: int,
    part: Pair,
    new: bool,
) -> None:
    """Patches by one panel: -> as many output pixels, from the first on, counted over the batch."""
    taps = patches.taps[0] * patches.taps[1] * patches.depth
    out = step.out_offset + first * step.out_pitch + column
    residual = step.residual_offset
    if residual >= 0:
        residual += first * step.residual_pitch + column
    panel(
        memory,
        patches,
        count,
        step.filters + column * taps,
        step.bias + column,
        Rows(memory.out, out, step.out_pitch),
        Rows(memory.out, residual, step.residual_pitch),
        min(COLUMNS, step.out_channels - column),
        floor_of(step),
        part,
        new,
    )


@inlined
def pointwise(step: Any, rows: Pair, columns: Pair, memory: Memory) -> None:
    """Pixels rows[0] to rows[1] of the batch, by columns[0] to columns[1]."""
    start = step.in_offset + rows[0] * step.in_pitch
    patches = Patches(memory.x, start, step.in_pitch, (1, 1), (0, 0), step.channels)
    for column in range(columns[0], columns[1], COLUMNS):
        _multiply(
            step, memory, patches, rows[1] - rows[0], column, rows[0], (0, 1), column == columns[0]
        )


@inlined
def direct(step: Any, rows: Pair, columns: Pair, memory: Memory) -> None:
    """Lines rows[0] to rows[1] of output pixels, counted over the batch."""
    taps, depth = (step.kernel_height, step.kernel_width), step.channels
    if step.in_pitch == step.channels:  # the taps of a line lie side by side
        taps, depth = (step.kernel_height, 1), step.kernel_width * step.channels
    steps = (step.width * step.in_pitch, step.in_pitch)
    stride = step.stride_width * step.in_pitch
    for column in range(columns[0], columns[1], COLUMNS):
        for line in range(rows[0], rows[1]):
            image, i = divmod(line, step.out_height)
            pixel = (image * step.height + i * step.stride_height) * step.width
            start = step.in_offset + pixel * step.in_pitch
            patches = Patches(memory.x, start, stride, taps, steps, depth)
            part = (line - rows[0], rows[1] - rows[0])
            _multiply(
                step, memory, patches, step.out_width, column, line * step.out_width, part, False
            )


@inlined
def implicit(step: Any, rows: Pair, columns: Pair, memory: Memory) -> None:
    """Pixels rows[0] to rows[1] of the batch, by way of patches in scratch memory."""
    taps = step.kernel_height * step.kernel_width * step.channels
    for pixel in range(rows[0], rows[1]):
        _copy_patch(step, pixel, memory, (pixel - rows[0]) * taps)
    patches = Patches(memory.scratch, 0, taps, (1, 1), (0, 0), taps)
    for column in range(columns[0], columns[1], COLUMNS):
        _multiply(step, memory, patches, rows[1] - rows[0], column, rows[0], (0, 1), False)


@inlined
def _copy_patch(step: Any, pixel: int, memory: Memory, place: int) -> None:
    """Copy the patch behind one output pixel to a place in scratch memory, (KH, KW, C)."""
    line, j = divmod(pixel, step.out_width)
    image, i = divmod(line, step.out_height)
    channels = step.channels
    for u in range(step.kernel_height):
        h = i * step.stride_height + u - step.top
        for v in range(step.kernel_width):
            w = j * step.stride_width + v - step.left
            if 0 <= h < step.height and 0 <= w < step.width:
                source = (image * step.height + h) * step.width + w
                start = step.in_offset + source * step.in_pitch
                for channel in range(channels):
                    put(memory.scratch, place + channel, get(memory.x, start + channel))
            else:
                for channel in range(channels):
                    put(memory.scratch, place + channel, np.float32(0))
            place += channels
