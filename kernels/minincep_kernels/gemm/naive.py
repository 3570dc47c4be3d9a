"""The definition: each number of the result is one sum, worked out before the next begins.

*Cost.*  2 M N K operations.  Along k, a row of a is read as it lies, from the level-1 cache.  A
column of b is not: one number lies N numbers behind the other, each on a cache line of its own.  64
bytes come for 4 that are used, and the next column finds them again only if K such lines have
stayed in a cache.  Where N is a power of two they have not: all of them fall on a few places of it.

*Bound by* latency.  Each addition waits for the one before it, three cycles or four, since a sum of
floating-point numbers may not be put in another order: no vectors, one sum at a time.  In larger
matrices it waits even longer, for cache lines.

The order of the three loops is free; Golub and Van Loan, "Matrix Computations", section 1.1, go
through all six.
"""

from minincep_kernels import Array
from minincep_kernels.buffers import empty
from minincep_kernels.jit import kernel
from minincep_kernels.registry import IN_SEQUENCE_TOLERANCE, variant
from minincep_kernels.shapes import GemmShape


@kernel
def _multiply(a: Array, b: Array, out: Array) -> None:
    rows, depth = a.shape
    _, columns = b.shape
    for i in range(rows):
        for j in range(columns):
            total = out.dtype.type(0)
            for k in range(depth):
                total += a[i, k] * b[k, j]
            out[i, j] = total


@variant("gemm", name="naive", tolerance=IN_SEQUENCE_TOLERANCE)
def forward(a: Array, b: Array, shape: GemmShape) -> Array:
    out = empty((shape.rows, shape.columns), a.dtype)
    _multiply.serial(a, b, out)
    return out
