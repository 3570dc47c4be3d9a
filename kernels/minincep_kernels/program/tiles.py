"""Convolution by Winograd's transforms: some tiles of the picture at a time, start to end.

For the tiles of a chunk: transform the inputs, multiply at each of the products, transform back.
What lies in between stays in scratch memory, small enough for the caches, and never makes up the
whole picture:

    V (products, tiles, C)   U (products, C, OC), packed   M (products, tiles, OC)

Tiles at the edge reach over it: they read zeros there, and what they would write there is dropped
into scratch memory.  They do the same arithmetic as all others.
"""

import math
from typing import Any

import numpy as np

from minincep_kernels.intrinsics import address_of, put_place
from minincep_kernels.jit import inlined
from minincep_kernels.microkernel import COLUMNS
from minincep_kernels.program.memory import Memory
from minincep_kernels.program.products import Pair, Patches, Rows, floor_of, panel
from minincep_kernels.program.step import PLACES
from minincep_kernels.vectors import LANES
from minincep_kernels.winograd import TILES, transform_input, transform_output

# (outputs down, outputs across, inputs down, inputs across) of each tile.
SIZES = tuple((*tile.outputs, *tile.inputs) for tile in TILES)
assert max(math.prod(tile.inputs) for tile in TILES) <= PLACES


@inlined
def tiles_of(step: Any) -> Pair:
    """Tiles down and across one picture."""
    down, across, _, _ = SIZES[step.tile]
    return -(-step.out_height // down), -(-step.out_width // across)


@inlined
def up(channels: int) -> int:
    """The next multiple of `LANES`."""
    return -(-channels // LANES) * LANES


@inlined
def winograd(step: Any, rows: Pair, columns: Pair, memory: Memory) -> None:
    """Tiles rows[0] to rows[1] of the batch, by columns[0] to columns[1]."""
    _, _, inputs_down, inputs_across = SIZES[step.tile]
    products, count = inputs_down * inputs_across, rows[1] - rows[0]
    depth, width = up(step.channels), up(columns[1] - columns[0])
    m = products * count * depth  # where M begins in scratch memory; V begins at 0
    dropped = m + products * count * width

    for index in range(count):
        find_inputs(step, rows[0] + index, memory)
        transform_input(
            *(memory.routines, step.tile, memory.places, 0),
            *(memory.scratch, index * depth, count * depth, step.channels),
        )
    filters = step.channels * up(step.out_channels)
    for product in range(products):
        _multiply(
            step,
            memory,
            count,
            columns,
            step.filters + product * filters,
            product * count * depth,
            m + product * count * width,
        )
    for index in range(count):
        _find_outputs(step, rows[0] + index, columns[0], memory, dropped)
        transform_output(
            *(memory.routines, step.tile, memory.scratch, m + index * width, count * width),
            *(memory.weights, step.bias + columns[0], memory.places, 0),
            *(columns[1] - columns[0], floor_of(step)),
        )


@inlined
def tile_position(step: Any, index: int) -> tuple[int, int, int]:
    """Picture, and first output pixel down and across, of a tile, counted over the batch."""
    down, across, _, _ = SIZES[step.tile]
    tiles_down, tiles_across = tiles_of(step)
    line, j = divmod(index, tiles_across)
    image, i = divmod(line, tiles_down)
    return image, i * down, j * across


@inlined
def find_inputs(step: Any, index: int, memory: Memory) -> None:
    """Write the addresses of a tile's inputs to `places`; outside the picture, those of zeros."""
    _, _, inputs_down, inputs_across = SIZES[step.tile]
    image, top, left = tile_position(step, index)
    top, left = top - step.top, left - step.left
    nothing = address_of(memory.weights, 0)
    place = 0
    for h in range(top, top + inputs_down):
        start = step.in_offset + (image * step.height + h) * step.width * step.in_pitch
        for w in range(left, left + inputs_across):
            put_place(memory.places, place, nothing)
            if 0 <= h < step.height and 0 <= w < step.width:
                put_place(memory.places, place, address_of(memory.x, start + w * step.in_pitch))
            place += 1


@inlined
def _find_outputs(step: Any, index: int, column: int, memory: Memory, dropped: int) -> None:
    """The same for a tile's outputs; outside the picture, a place in scratch memory."""
    down, across, _, _ = SIZES[step.tile]
    image, top, left = tile_position(step, index)
    place = 0
    for h in range(top, top + down):
        start = (image * step.out_height + h) * step.out_width
        for w in range(left, left + across):
            put_place(memory.places, place, address_of(memory.scratch, dropped))
            if h < step.out_height and w < step.out_width:
                pixel = step.out_offset + (start + w) * step.out_pitch
                put_place(memory.places, place, address_of(memory.out, pixel + column))
            place += 1


@inlined
def _multiply(
    step: Any, memory: Memory, rows: int, columns: Pair, filters: int, v: int, m: int
) -> None:
    """V U of one product for all tiles of the chunk; v and m are their places in scratch memory."""
    depth, width = up(step.channels), up(columns[1] - columns[0])
    patches = Patches(memory.scratch, v, depth, (1, 1), (0, 0), step.channels)
    for column in range(columns[0], columns[1], COLUMNS):
        panel(
            memory,
            patches,
            rows,
            filters + column * step.channels,
            0,  # the sums start from zeros
            Rows(memory.scratch, m + column - columns[0], width),
            Rows(memory.scratch, -1, 0),
            min(COLUMNS, up(step.out_channels - column)),
            np.float32(-np.inf),
            (0, 1),
            False,
        )
