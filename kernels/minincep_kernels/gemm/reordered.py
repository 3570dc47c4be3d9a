"""The loops in the order i, k, j: rows of b are read, and rows of c written, as they lie.

*What changes.*  The inner loop runs along j.  It adds a multiple of a row of b to a row of c, so
that neighbours in the loop are neighbours in memory, and no two of its sums have to do with each
other.  The compiler sees that and does several at a time, in vector registers: 8 with AVX2, and
with AVX-512 too, of which LLVM takes one half unless told otherwise.  Nothing was said of vectors;
to see them, look for ``vmulps`` and ``vaddps`` in the machine code, where `naive` has ``vmulss``.

*Cost.*  2 M N K operations, as ever.  Every cache line that is fetched is used whole: 4 bytes of b
for each multiply-add, 4 M N K in all, from the cache that holds b.  The row of c stays in the
level-1 cache, from where each vector is loaded, and to where it is stored again, K times.

*Bound by* loads and stores: two loads and a store for one multiplication and one addition, of which
a core could do more in that time.  And, once b is larger than the level-2 cache,
by the bandwidth of what lies behind it: each row of a fetches all of b anew.

Drepper 2007, "What every programmer should know about memory", section 6.2.1.
"""

from minincep_kernels import Array
from minincep_kernels.buffers import empty
from minincep_kernels.jit import inlined, kernel
from minincep_kernels.registry import IN_SEQUENCE_TOLERANCE, variant
from minincep_kernels.shapes import GemmShape


@inlined
def add_scaled(factor: float, row: Array, out: Array) -> None:
    """Add so many times one row to another: the inner loop of this rung and of the next two.

    Rows of their own, since in `out[i, j]` the compiler cannot tell how far j and j + 1 are apart.
    """
    for j in range(len(out)):
        out[j] += factor * row[j]


@kernel
def _multiply(a: Array, b: Array, out: Array) -> None:
    rows, depth = a.shape
    out[:] = 0
    for i in range(rows):
        for k in range(depth):
            add_scaled(a[i, k], b[k], out[i])


@variant("gemm", name="reordered", below="naive", tolerance=IN_SEQUENCE_TOLERANCE)
def forward(a: Array, b: Array, shape: GemmShape) -> Array:
    out = empty((shape.rows, shape.columns), a.dtype)
    _multiply.serial(a, b, out)
    return out
