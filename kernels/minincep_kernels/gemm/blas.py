"""NumPy's product: OpenBLAS, MKL or Accelerate, whichever it was built with.  Beside the ladder.

Decades of the ideas of the ladder, written by hand for each CPU, in float32 and float64.  It packs
both matrices, and keeps blocks of one in the level-2 and of the other in the level-3 cache.

*Cost.*  2 M N K operations; the traffic is that of `register_tile`, as far as one can tell from
outside.

*Bound by* the multiply-adds; small products, and those of a few rows, by packing.

It sums in an order of its own, which depends on the sizes and on the number of threads: so do the
last bits of a result.
"""

import numpy as np

from minincep_kernels import Array
from minincep_kernels.registry import variant
from minincep_kernels.shapes import GemmShape


@variant("gemm", name="blas", uses_blas=True)
def forward(a: Array, b: Array, shape: GemmShape) -> Array:
    out: Array = np.matmul(a, b)
    return out
