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

FILTERS = 1 << 17  # floats of filters that stay in the level-2 cache from tile to tile
SCRATCH = 1 << 18  # floats of transformed tiles in a chunk, or as many as there are filters
PATCHES = 8 * ROWS  # rows of patches in a chunk
WORK = 1 << 23  # multiplications in a chunk: enough to make taking it cost nothing


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

    def fields(self, shape: Conv2dShape, threads: int) -> dict[str, int]:
        """What the step says of its method: its kind, its tile, and chunks for so many threads."""
        rows, columns = self._chunk(shape, threads)
        return {"kind": int(self.kind), "tile": self.tile, "rows": rows, "columns": columns}

    def _chunk(self, shape: Conv2dShape, threads: int) -> tuple[int, int]:
        """Rows and columns of a chunk; as if for one image, whatever the batch."""
        widest = -(-shape.out_channels // COLUMNS) * COLUMNS
        columns = min(max(FILTERS // shape.taps // COLUMNS * COLUMNS, COLUMNS), widest)
        total, least = shape.out_height * shape.out_width, ROWS
        if self.kind == Kind.WINOGRAD:
            down, across, _, _ = SIZES[self.tile]
            total = -(-shape.out_height // down) * -(-shape.out_width // across)
            products, columns = TILES[self.tile].products, widest
            room = max(SCRATCH, products * shape.channels * shape.out_channels)
            rows = room // (products * (shape.channels + shape.out_channels))
        elif self.kind == Kind.DIRECT:
            total, least = shape.out_height, 1
            rows = WORK // (shape.out_width * shape.taps * columns)
        elif self.kind == Kind.IMPLICIT:
            columns = widest
            rows = PATCHES
        else:
            rows = WORK // (shape.taps * columns)
        rows = min(max(rows // least * least, least), total)
        wanted = 1 if threads == 1 else threads if self.kind == Kind.WINOGRAD else 2 * threads
        while -(-total // rows) * -(-widest // columns) < wanted:
            if (
                rows >= (2 if self.kind == Kind.WINOGRAD else 8) * least
                and self.kind != Kind.IMPLICIT
            ):
                rows = -(-rows // 2)
            elif columns > COLUMNS:
                columns = -(-columns // 2 // COLUMNS) * COLUMNS
            elif rows >= 2 * least:
                rows = -(-rows // 2)
            else:
                break
        return rows, columns


POINTWISE = Method(Kind.POINTWISE)
DIRECT = Method(Kind.DIRECT)
IMPLICIT = Method(Kind.IMPLICIT)


def _tiles(*outputs: tuple[int, int]) -> list[Method]:
    """Winograd's method with the tiles of so many outputs."""
    return [Method(Kind.WINOGRAD, TILES.index(t)) for t in TILES if t.outputs in outputs]


def choose(shape: Conv2dShape, *, residual: bool = False) -> Method:
    """The method that was measured to be the fastest, of those that can add the residual."""
    wanted = [POINTWISE]
    if min(shape.out_height, shape.out_width) > 8:  # on small maps, filters from memory cost more
        wanted += _tiles((4, 4))
    if max(shape.out_height, shape.out_width) > 12:
        wanted += _tiles((1, 6), (6, 1))
    if max(shape.kernel) == 7:
        wanted += _tiles((1, 4), (4, 1))
    if shape.out_width >= ROWS // 2:  # narrower lines would leave the register tile half empty
        wanted.append(DIRECT)
    wanted.append(IMPLICIT)
    if residual:
        wanted = [method for method in wanted if method.kind != Kind.WINOGRAD]
    return next(method for method in wanted if method.supports(shape))


def choose_filter_gradient(shape: Conv2dShape) -> Method:
    """The same for the gradient of the filters; IMPLICIT stands for tap by tap."""
    wanted = _tiles((1, 4), (4, 1)) if max(shape.kernel) == 3 else []
    if max(shape.out_height, shape.out_width) > 12:
        wanted += _tiles((1, 6), (6, 1))
    wanted += _tiles((1, 4), (4, 1))
    if min(shape.channels, shape.out_channels) > 32:  # else the transforms cost more than they save
        wanted = _tiles((4, 4)) + wanted
    return next((method for method in wanted if method.supports(shape)), IMPLICIT)
