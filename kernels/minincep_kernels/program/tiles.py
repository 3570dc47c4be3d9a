"""Convolution by Winograd's transforms: some tiles of the picture at a time, start to end.

For the tiles of a chunk: transform the inputs, multiply at each of the products, transform back.  What
lies in between stays in scratch memory, small enough for the caches, and never makes up the whole
picture:

    V (products, tiles, C)   U (products, C, OC), packed   M (products, tiles, OC)

Tiles at the edge reach over it: they read zeros there, and what they would write there is dropped
into scratch memory.  They do the same arithmetic as all others.

Sums over many channels are taken `depth` channels at a time: short sums round less, and the transform
back, which subtracts, would make rounding errors larger.
"""

from numba.extending import register_jitable

from minincep_kernels.microkernel import COLUMNS, ROWS, height_of, tile
from minincep_kernels.program.products import floor_of
from minincep_kernels.vectors import LANES, address_of
from minincep_kernels.winograd import TILES, transform_input, transform_output

import numpy as np

# (outputs down, outputs across, inputs down, inputs across) of each tile.
SIZES = tuple((*tile.outputs, *tile.inputs) for tile in TILES)
PLACES = max(tile.products for tile in TILES)


@register_jitable  # type: ignore[untyped-decorator]  # Numba has no types
def tiles_of(step):
    """Tiles down and across one picture."""
    down, across, _, _ = SIZES[step.tile]
    return -(-step.out_height // down), -(-step.out_width // across)


@register_jitable
def winograd(step, rows, columns, x, weights, out, scratch, scratch_offset, places, places_offset):
    """Tiles rows[0] to rows[1] of the batch, by columns[0] to columns[1].

    Parameters
    ----------
    places
        Room for `PLACES` addresses, from places_offset on.
    """
    outputs_down, outputs_across, inputs_down, inputs_across = SIZES[step.tile]
    products = inputs_down * inputs_across
    count = rows[1] - rows[0]
    tiles_down, tiles_across = tiles_of(step)
    depth = -(-step.channels // LANES) * LANES
    width = columns[1] - columns[0]
    width = -(-width // LANES) * LANES
    v = scratch_offset
    m = v + products * count * depth
    dropped = m + products * count * width

    nothing = address_of(weights, 0)
    for index in range(count):
        line, j = divmod(rows[0] + index, tiles_across)
        image, i = divmod(line, tiles_down)
        top, left = i * outputs_down - step.top, j * outputs_across - step.left
        place = places_offset
        for h in range(top, top + inputs_down):
            start = step.in_offset + (image * step.height + h) * step.width * step.in_pitch
            for w in range(left, left + inputs_across):
                places[place] = nothing
                if 0 <= h < step.height and 0 <= w < step.width:
                    places[place] = address_of(x, start + w * step.in_pitch)
                place += 1
        transform_input(
            step.tile, places, places_offset, scratch, v + index * depth, count * depth, step.channels
        )

    for product in range(products):
        _multiply(
            step,
            count,
            columns,
            weights,
            step.filters + product * step.channels * (-(-step.out_channels // LANES) * LANES),
            scratch,
            (v + product * count * depth, depth),
            (m + product * count * width, width),
        )

    for index in range(count):
        line, j = divmod(rows[0] + index, tiles_across)
        image, i = divmod(line, tiles_down)
        top, left = i * outputs_down, j * outputs_across
        place = places_offset
        for h in range(top, top + outputs_down):
            start = (image * step.out_height + h) * step.out_width
            for w in range(left, left + outputs_across):
                places[place] = address_of(scratch, dropped)
                if h < step.out_height and w < step.out_width:
                    pixel = step.out_offset + (start + w) * step.out_pitch
                    places[place] = address_of(out, pixel + columns[0])
                place += 1
        transform_output(
            step.tile,
            scratch,
            m + index * width,
            count * width,
            weights,
            step.bias + columns[0],
            places,
            places_offset,
            columns[1] - columns[0],
            floor_of(step),
        )


@register_jitable
def _multiply(step, rows, columns, weights, filters, scratch, v, m):
    """V U of one product for all tiles of the chunk; v and m are (offset, pitch)."""
    tiles = -(-rows // ROWS)
    row = 0
    for index in range(tiles):
        height = height_of(index, tiles, rows)
        for column in range(columns[0], columns[1], COLUMNS):
            wide = min(COLUMNS, step.out_channels - column)
            panel = COLUMNS if wide > LANES else LANES
            place = m[0] + row * m[1] + column - columns[0]
            for first in range(0, step.channels, step.depth):
                tile(
                    height,
                    scratch,
                    v[0] + row * v[1] + first,
                    v[1],
                    (1, 1),
                    (0, 0),
                    min(step.depth, step.channels - first),
                    weights,
                    filters + column * step.channels + first * panel,
                    0,
                    scratch,
                    place,
                    m[1],
                    place if first else -1,
                    m[1],
                    panel,
                    np.float32(-np.inf),
                )
        row += height
