"""Convolution as register tiles, in three ways that differ in where a pixel's patch comes from.

- *Pointwise* (1 x 1, stride 1): a patch is a pixel.  The picture is the matrix.
- *Direct* (no padding): a line of patches, stride after stride along a line of the picture, is read
  where it lies, tap after tap: at each tap the pixels are evenly spaced, which is all that a tile
  asks for.
- *Implicit* (anything): the patches of a few rows of tiles are copied into scratch memory, zeros
  where they reach over the edge.  The whole matrix of columns, KH KW times the picture, is never
  there: hence the name, implicit im2col.

A chunk is some rows and some columns (output channels) of the result.  Its columns are few enough
for their filters to stay in the level-2 cache while tile after tile of pixels goes by.
"""

import numpy as np
from numba.extending import register_jitable

from minincep_kernels import Array
from minincep_kernels.microkernel import COLUMNS, ROWS, height_of, tile

_NONE = np.float32(-np.inf)


@register_jitable  # type: ignore[untyped-decorator]  # Numba has no types
def floor_of(step):
    """What the result of a step is at least: 0 with a ReLU."""
    return np.float32(0) if step.relu else _NONE


@register_jitable
def _panels(step, height, x, offset, stride, taps, steps, depth, columns, weights, out, row):
    """One tile after the other across the columns (first, last) of a chunk.

    `row` is the first output pixel of the tile, counted over the whole batch.
    """
    whole_depth = taps[0] * taps[1] * depth
    place = step.out_offset + row * step.out_pitch
    residual = step.residual_offset
    if residual >= 0:
        residual += row * step.residual_pitch
    for column in range(columns[0], columns[1], COLUMNS):
        tile(
            height,
            x,
            offset,
            stride,
            taps,
            steps,
            depth,
            weights,
            step.filters + column * whole_depth,
            step.bias + column,
            out,
            place + column,
            step.out_pitch,
            residual + column if residual >= 0 else -1,
            step.residual_pitch,
            min(COLUMNS, step.out_channels - column),
            floor_of(step),
        )


@register_jitable
def pointwise(step, rows, columns, x, weights, out):
    """Pixels rows[0] to rows[1] of the batch, by columns[0] to columns[1]."""
    count = rows[1] - rows[0]
    tiles = (count + ROWS - 1) // ROWS
    row = rows[0]
    for index in range(tiles):
        height = height_of(index, tiles, count)
        offset = step.in_offset + row * step.in_pitch
        _panels(
            step,
            height,
            x,
            offset,
            step.in_pitch,
            (1, 1),
            (0, 0),
            step.channels,
            columns,
            weights,
            out,
            row,
        )
        row += height


@register_jitable
def direct(step, rows, columns, x, weights, out):
    """Lines rows[0] to rows[1] of output pixels, counted over the batch."""
    taps, depth = (step.kernel_height, step.kernel_width), step.channels
    if step.in_pitch == step.channels:  # the taps of a line lie side by side
        taps, depth = (step.kernel_height, 1), step.kernel_width * step.channels
    steps = (step.width * step.in_pitch, step.in_pitch)
    tiles = (step.out_width + ROWS - 1) // ROWS
    for line in range(rows[0], rows[1]):
        image, i = divmod(line, step.out_height)
        start = (image * step.height + i * step.stride_height) * step.width
        column = 0
        for index in range(tiles):
            height = height_of(index, tiles, step.out_width)
            pixel = start + column * step.stride_width
            _panels(
                step,
                height,
                x,
                step.in_offset + pixel * step.in_pitch,
                step.stride_width * step.in_pitch,
                taps,
                steps,
                depth,
                columns,
                weights,
                out,
                line * step.out_width + column,
            )
            column += height


@register_jitable
def implicit(step, rows, columns, x, weights, out, scratch, scratch_offset):
    """Pixels rows[0] to rows[1] of the batch, by way of patches in scratch memory."""
    taps = step.kernel_height * step.kernel_width * step.channels
    count = rows[1] - rows[0]
    for row in range(count):
        _patch(step, rows[0] + row, x, scratch, scratch_offset + row * taps)
    tiles = (count + ROWS - 1) // ROWS
    row = 0
    for index in range(tiles):
        height = height_of(index, tiles, count)
        _panels(
            step,
            height,
            scratch,
            scratch_offset + row * taps,
            taps,
            (1, 1),
            (0, 0),
            taps,
            columns,
            weights,
            out,
            rows[0] + row,
        )
        row += height


@register_jitable
def _patch(step, pixel, x, out, place):
    """Copy the patch behind one output pixel, (KH, KW, C)."""
    line, j = divmod(pixel, step.out_width)
    image, i = divmod(line, step.out_height)
    channels = step.channels
    for u in range(step.kernel_height):
        h = i * step.stride_height + u - step.top
        for v in range(step.kernel_width):
            w = j * step.stride_width + v - step.left
            if 0 <= h < step.height and 0 <= w < step.width:
                start = step.in_offset + ((image * step.height + h) * step.width + w) * step.in_pitch
                out[place : place + channels] = x[start : start + channels]
            else:
                out[place : place + channels] = np.float32(0)
            place += channels
