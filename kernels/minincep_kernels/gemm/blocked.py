"""A block of b at a time, small enough for the level-2 cache, meets all rows of a.

*What changes.*  Two loops around the three of `reordered`: they go over b in blocks of `DEPTH` rows
and `COLUMNS` columns.  A block is fetched for the first row of a, and waits in the cache for all
others.

*Cost.*  2 M N K operations.  b comes from memory once, 4 K N bytes in place of 4 M N K; those 4 M N
K come from the level-2 cache now.  What it costs: c is read and written once for each block of
depth, 8 M N K / `DEPTH` bytes, and a read once for each block of columns, 4 M N K / `COLUMNS`.
Deeper blocks save traffic of c, wider ones traffic of a; both together are as large as the cache.

*Bound by* the loads and stores of the inner loop, as before, but now for matrices of any size.
Where b fits into the cache as it is, this rung does the same as the one below.

Lam, Rothberg and Wolf 1991, "The cache performance and optimizations of blocked algorithms",
ASPLOS IV, who also say what is wrong here still: rows of a block lie N numbers apart, and for some
N they push each other out of the cache.  The idea is older than caches: McKellar and Coffman 1969,
"Organizing matrices and matrix operations for paged memory systems", CACM 12(3).
"""

from minincep_kernels import Array
from minincep_kernels.buffers import empty
from minincep_kernels.gemm.reordered import add_scaled
from minincep_kernels.jit import kernel
from minincep_kernels.registry import IN_SEQUENCE_TOLERANCE, variant
from minincep_kernels.shapes import GemmShape

DEPTH, COLUMNS = 128, 512  # of a block: 256 KB in float32


@kernel
def _multiply(a: Array, b: Array, out: Array) -> None:
    rows, depth = a.shape
    _, columns = b.shape
    out[:] = 0
    for left in range(0, columns, COLUMNS):
        right = min(left + COLUMNS, columns)
        for top in range(0, depth, DEPTH):
            for i in range(rows):
                for k in range(top, min(top + DEPTH, depth)):
                    add_scaled(a[i, k], b[k, left:right], out[i, left:right])


@variant("gemm", name="blocked", below="reordered", tolerance=IN_SEQUENCE_TOLERANCE)
def forward(a: Array, b: Array, shape: GemmShape) -> Array:
    out = empty((shape.rows, shape.columns), a.dtype)
    _multiply.serial(a, b, out)
    return out
