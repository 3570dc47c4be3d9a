"""How a convolution becomes a step: which kind, how its filters are packed, what a chunk is.

Which kind is a question of arithmetic, and changes the last bits of a result; it depends on the
layer and on the size of its image, never on the batch or on the threads.  How large a chunk is
changes nothing but the time.
"""

from dataclasses import dataclass

import numpy as np

from minincep_kernels import Array
from minincep_kernels.microkernel import COLUMNS, ROWS, pack
from minincep_kernels.program.step import ZEROS, Kind
from minincep_kernels.program.tiles import SIZES
from minincep_kernels.shapes import Conv2dShape
from minincep_kernels.vectors import padded
from minincep_kernels.winograd import TILES

FILTERS = 1 << 17  # floats of filters that a chunk reads again and again: a part of the level-2 cache
SCRATCH = 1 << 18  # floats of transformed tiles in a chunk
WORK = 1 << 23  # multiplications in a chunk: enough to make taking it cost nothing
SHARE = 4  # chunks in a step, if it is not too small: so that two threads, or four, are all busy
DEPTH = 64  # channels that are summed at a time where transforms lose digits


@dataclass(frozen=True)
class Method:
    """One way to convolve in a program.

    Attributes
    ----------
    kind
        Of the step.
    tile
        Which of `winograd.TILES`.
    """

    kind: Kind
    tile: int = 0

    def supports(self, shape: Conv2dShape) -> bool:
        """Whether this can compute a shape at all."""
        if self.kind == Kind.POINTWISE:
            return shape.kernel == shape.stride == (1, 1) and shape.padding == (0, 0, 0, 0)
        if self.kind == Kind.DIRECT:
            return shape.padding == (0, 0, 0, 0)
        if self.kind == Kind.WINOGRAD:
            tile = TILES[self.tile]
            taps = (tile.down.taps, tile.across.taps)
            fits = max(shape.channels, shape.out_channels) + COLUMNS <= ZEROS
            return shape.kernel == taps and shape.stride == (1, 1) and fits
        return True

    def packed_floats(self, filters: tuple[int, ...]) -> int:
        """Floats that packed filters of shape (KH, KW, C, OC) take."""
        height, width, channels, out_channels = filters
        products = height * width
        if self.kind == Kind.WINOGRAD:
            products = TILES[self.tile].products
        return products * channels * padded(out_channels)

    def pack(self, filters: Array) -> Array:
        """Filters (KH, KW, C, OC) in the order in which steps read them: -> flat."""
        channels = filters.shape[-1]
        if self.kind != Kind.WINOGRAD:
            return pack(filters, channels)
        products = TILES[self.tile].transform_filters(filters)
        return np.concatenate([pack(product, channels) for product in products])

    def fields(self, shape: Conv2dShape) -> dict[str, int]:
        """What the step says of its method: its kind, its tile and its chunks."""
        depth = shape.channels
        if self.kind == Kind.WINOGRAD and max(shape.kernel) > 3:
            depth = DEPTH
        rows, columns = self._chunk(shape)
        return {
            "kind": int(self.kind),
            "tile": self.tile,
            "depth": depth,
            "rows": rows,
            "columns": columns,
        }

    def _chunk(self, shape: Conv2dShape) -> tuple[int, int]:
        """Rows and columns of a chunk; both for one image, whatever the batch."""
        widest = -(-shape.out_channels // COLUMNS) * COLUMNS
        pixels = shape.out_height * shape.out_width
        columns = max(FILTERS // shape.taps // COLUMNS * COLUMNS, COLUMNS)
        if self.kind == Kind.WINOGRAD:
            down, across, _, _ = SIZES[self.tile]
            total = -(-shape.out_height // down) * -(-shape.out_width // across)
            products = TILES[self.tile].products
            least = ROWS
            columns = widest
            rows = SCRATCH // (products * (shape.channels + shape.out_channels))
            rows = min(rows, WORK // (products * shape.channels * widest))
        elif self.kind == Kind.DIRECT:
            total, least = shape.out_height, 1
            columns = min(columns, widest)
            rows = WORK // (shape.out_width * shape.taps * columns)
        elif self.kind == Kind.IMPLICIT:
            total, least = pixels, ROWS
            columns = widest
            rows = min(4 * ROWS, SCRATCH // shape.taps)
        else:
            total, least = pixels, ROWS
            columns = min(columns, widest)
            rows = WORK // (shape.taps * columns)
        rows = min(max(rows // least * least, least), total)
        while -(-total // rows) * -(-widest // columns) < SHARE:
            if rows > 3 * least and rows * 2 > total:
                rows = -(-rows // 2)
            elif columns > 2 * COLUMNS:
                columns = -(-columns // 2 // COLUMNS) * COLUMNS
            else:
                break
        return rows, columns


POINTWISE = Method(Kind.POINTWISE)
DIRECT = Method(Kind.DIRECT)
IMPLICIT = Method(Kind.IMPLICIT)


def choose(shape: Conv2dShape) -> Method:
    """The method that was measured to be the fastest."""
    pixels = shape.out_height * shape.out_width
    wanted: list[Method] = []
    if shape.kernel == (3, 3) and pixels > 100:
        wanted.append(Method(Kind.WINOGRAD, 0))
    if shape.kernel == (1, 7):
        wanted.append(Method(Kind.WINOGRAD, 6 if shape.out_width > 12 else 4))
    if shape.kernel == (7, 1):
        wanted.append(Method(Kind.WINOGRAD, 7 if shape.out_height > 12 else 5))
    wanted.append(POINTWISE)
    if shape.out_width >= ROWS // 2:
        wanted.append(DIRECT)
    wanted.append(IMPLICIT)
    return next(method for method in wanted if method.supports(shape))

