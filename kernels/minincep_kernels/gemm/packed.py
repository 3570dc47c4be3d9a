"""The blocks of b are copied first, so that each lies in memory in the order in which it is read.

*What changes.*  `pack` copies b into *panels*: all rows, `COLUMNS` columns at a time, without gaps
between the rows.  The loops are those of `blocked`, only they read panels.

*Cost.*  2 M N K operations, and a copy of 8 K N bytes, which M rows share: it is next to nothing
for a thousand rows, and as dear as the product itself for one.  The traffic is that of `blocked`.
But a block is one run of memory now.  It takes few pages, so that their addresses stay at hand; no
two of its lines fall on the same place in the cache; and the cache fetches ahead of the loop.

*Bound by* the loads and stores of the inner loop, as before.  It comes nearer to that bound the
larger N is; where N is no more than `COLUMNS`, b was one run of memory already.

Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3).
They pack a as well; here its rows, read from left to right, are runs of memory as they are.
"""

from typing import Any

import numpy as np
from numba import prange

from minincep_kernels import Array
from minincep_kernels.buffers import empty
from minincep_kernels.gemm.blocked import COLUMNS, DEPTH
from minincep_kernels.gemm.reordered import add_scaled
from minincep_kernels.jit import inlined, kernel
from minincep_kernels.registry import IN_SEQUENCE_TOLERANCE, variant
from minincep_kernels.shapes import GemmShape


@inlined
def panel_of(packed: Array, depth: int, left: int, right: int) -> Array:
    """Columns left to right, which make up a panel: -> (K, right - left)."""
    return packed[depth * left : depth * right].reshape((depth, right - left))


@inlined
def _copy(row: Array, out: Array) -> None:
    """A loop: of `out[:] = row`, Numba makes one that first asks whether both overlap."""
    for j in range(len(row)):
        out[j] = row[j]


@kernel
def pack(b: Array, width: int, room: int, out: Array) -> None:
    """Columns of b (K, N), `width` at a time, one panel behind the other -> flat.

    Parameters
    ----------
    room
        Columns of all panels together, N or more; those that b does not have are zeros.
    """
    depth, columns = b.shape
    for number in prange((room + width - 1) // width):
        left: Any = np.int64(number) * width
        right = min(left + width, room)
        panel = panel_of(out, depth, left, right)
        there = min(right, columns) - left
        for k in range(depth):
            _copy(b[k, left : left + there], panel[k])
            panel[k, there:] = 0


@kernel
def _multiply(a: Array, packed: Array, out: Array) -> None:
    rows, depth = a.shape
    _, columns = out.shape
    out[:] = 0
    for left in range(0, columns, COLUMNS):
        right = min(left + COLUMNS, columns)
        panel = panel_of(packed, depth, left, right)
        for top in range(0, depth, DEPTH):
            for i in range(rows):
                for k in range(top, min(top + DEPTH, depth)):
                    add_scaled(a[i, k], panel[k], out[i, left:right])


@variant("gemm", name="packed", below="blocked", tolerance=IN_SEQUENCE_TOLERANCE)
def forward(a: Array, b: Array, shape: GemmShape) -> Array:
    packed = empty((shape.depth * shape.columns,), b.dtype)
    pack.serial(b, COLUMNS, shape.columns, packed)
    out = empty((shape.rows, shape.columns), a.dtype)
    _multiply.serial(a, packed, out)
    return out
