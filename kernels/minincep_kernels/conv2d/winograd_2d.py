"""Winograd's F(4 x 4, 3 x 3): 36 multiplications where direct convolution has 144.

*What changes.*  The arithmetic itself: `winograd` says how.  The picture is cut into tiles of 4 x 4
outputs; the 6 x 6 inputs behind each are transformed, for each channel by itself; then there are 36
matrix products, tiles by transformed filters; and their results are transformed back.

*Cost.*  2 C OC operations for each of 36 products of each tile, a quarter of those of direct
convolution where tiles are full: this is what `work` counts.  The transforms come on top, some
hundred operations a tile for each of C + OC channels: cheap where there are many of both.  Filters
take 36 / 9 times the memory.

*Bound by* the multiply-adds of the products; on small pictures, whose tiles hang over the edge, by
work that is thrown away, and by the memory that four times the filters come from.  In floating
point it pays with digits: `tolerance` says how many.

Winograd 1980, "Arithmetic complexity of computations"; Lavin and Gray 2016, "Fast algorithms for
convolutional neural networks", arXiv:1509.09308.  `program.tiles` has the code.
"""

import math

from minincep_kernels.conv2d.tiled import name_of, rung
from minincep_kernels.program.layout import Method
from minincep_kernels.program.step import Kind
from minincep_kernels.winograd import DIRECT, TILES, Tile


def is_flat(tile: Tile) -> bool:
    """Whether it transforms along one axis only."""
    return DIRECT in (tile.down, tile.across)


def winograd(tile: Tile, about: str) -> None:
    """Register a tile; it stands on the next smaller one of the same filter, if there is one."""
    taps, outputs = (tile.down.taps, tile.across.taps), math.prod(tile.outputs)
    smaller = [
        one
        for one in TILES
        if (one.down.taps, one.across.taps) == taps and math.prod(one.outputs) < outputs
    ]
    below = max(smaller, key=lambda one: math.prod(one.outputs), default=None)
    rung(
        name_of(tile),
        Method(Kind.WINOGRAD, TILES.index(tile)),
        below=name_of(below) if below else "tile_implicit",
        about=about,
    )


for _tile in TILES:
    if not is_flat(_tile):
        winograd(_tile, __doc__)
