"""Sums wait in registers, not in memory: a tile of c is complete before it is stored, once.

*What changes.*  The inner loops are the register tile of `microkernel`: with AVX-512, 14 rows of c
by 2 vectors of columns, 28 vectors of sums, while all of the depth runs by.  Panels of b are as
wide as the tile; a is read where it lies, a number at a time.  And since the tile is written out
instruction by instruction, it takes the widest vectors and fused multiply-adds: the compiler alone
may not fuse, which changes the rounding.

*Cost.*  2 M N K operations.  A step of depth loads 2 vectors of b and 14 numbers of a for 28
multiply-adds, where `packed` would load 56 vectors and store 28.  c is written once, 4 M N bytes,
and never read.  Panels go from the level-2 cache to the core for each tile of rows, and rows for
each panel: 4 M N K / 14 and 4 M N K / 32 bytes in all.  As many rows of a as fill half of that
cache, `BLOCK`, meet all panels before the next rows come, so that the level behind it, or memory,
gives a once, and b once for each such block: 4 N K times M K / `BLOCK` bytes.

*Bound by* the multiply-adds, of which a core can start two in a cycle.  What is missing to that is
packing, tiles that are not full, and, for few rows, the time that b takes from memory.

Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3); Van
Zee and van de Geijn 2015, "BLIS: a framework for rapidly instantiating BLAS functionality", ACM
TOMS 41(3), where a tile and the sizes of blocks are all that a new CPU needs.

The tile knows float32 only; float64 is left to `packed`.
"""

from collections.abc import Callable

import numpy as np

from minincep_kernels import Array
from minincep_kernels.buffers import empty
from minincep_kernels.gemm import packed as below
from minincep_kernels.intrinsics import address_of
from minincep_kernels.jit import inlined, kernel
from minincep_kernels.microkernel import COLUMNS
from minincep_kernels.program.memory import Memory
from minincep_kernels.program.products import Pair, Patches, Rows, panel
from minincep_kernels.registry import variant
from minincep_kernels.shapes import GemmShape
from minincep_kernels.vectors import padded, table_of

BLOCK = 1 << 17  # floats of a that stay in the level-2 cache while all panels run by
NONE = np.float32(-np.inf)  # a floor of the results that is no floor

tiles = table_of("tile")


def takes(a: Array, shape: GemmShape) -> bool:
    """Whether this is for the tile: float32, and not empty."""
    return a.dtype == np.float32 and 0 not in (shape.rows, shape.columns, shape.depth)


def panels_of(b: Array, shape: GemmShape, pack: Callable[..., None]) -> Array:
    """Packed b, and behind it the zeros that the sums start from: -> flat."""
    columns = padded(shape.columns)
    packed = empty((shape.depth * columns + COLUMNS,), b.dtype)
    pack(b, COLUMNS, columns, packed)
    packed[-COLUMNS:] = 0
    return packed


def blocks_of(shape: GemmShape) -> int:
    """Into how many blocks of rows a is divided."""
    return max(1, min(shape.rows, shape.rows * shape.depth // BLOCK))


@inlined
def part(index: int, parts: int, count: int) -> Pair:
    """First and last of one of so many even parts."""
    return index * count // parts, (index + 1) * count // parts


@inlined
def multiply(routines: int, a: Array, packed: Array, out: Array, rows: Pair, columns: Pair) -> None:
    """Some rows of a by some panels, whose columns are these: -> their part of the result."""
    _, depth = a.shape
    _, width = out.shape
    x, weights = address_of(a.reshape(-1), 0), address_of(packed, 0)
    memory = Memory(x, address_of(out.reshape(-1), 0), weights, 0, 0, routines)
    patches = Patches(x, rows[0] * depth, depth, (1, 1), (0, 0), depth)
    for column in range(columns[0], columns[1], COLUMNS):
        panel(
            memory,
            patches,
            rows[1] - rows[0],
            column * depth,
            len(packed) - COLUMNS,
            Rows(memory.out, rows[0] * width + column, width),
            Rows(memory.out, -1, 0),
            min(COLUMNS, width - column),
            NONE,
            (0, 1),
            False,
        )


@kernel
def _multiply(a: Array, packed: Array, blocks: int, out: Array) -> None:
    rows, _ = a.shape
    _, columns = out.shape
    routines = tiles()
    for block in range(blocks):
        multiply(routines, a, packed, out, part(block, blocks, rows), (0, columns))


@variant("gemm", name="register_tile", below="packed")
def forward(a: Array, b: Array, shape: GemmShape) -> Array:
    if not takes(a, shape):
        return below.forward(a, b, shape)
    packed = panels_of(b, shape, below.pack.serial)
    out = empty((shape.rows, shape.columns), a.dtype)
    _multiply.serial(a, packed, blocks_of(shape), out)
    return out
