"""The columns of `im2col`, multiplied by a rung of the ladder of matrix products.

*What changes.*  The product is that of `minincep_kernels.gemm`, not NumPy's: so nothing is left
that is not in these files.  Any rung will do: with ``--kernels conv2d=im2col_gemm`` and ``--kernels
gemm=blocked`` a whole network runs on blocked products.

*Cost.*  That of `im2col`, but for one more pass over the result, 8 N OH OW OC bytes: a product
gives its result in a matrix of its own.

*Bound by* what bounds the rung; with the highest one, as `im2col` is: by the multiply-adds, or by
the bandwidth that the columns take.
"""

from minincep_kernels import Array, gemm  # noqa: F401  (registers its variants)
from minincep_kernels.conv2d import im2col
from minincep_kernels.registry import choose, variant
from minincep_kernels.shapes import Conv2dShape, GemmShape


def _multiply(a: Array, b: Array, c: Array) -> None:
    shape = GemmShape(len(a), b.shape[1], len(b))
    c[:] = choose("gemm", shape).forward(a, b, shape)


@variant("conv2d", name="im2col_gemm", below="im2col", asks=("gemm",))
def forward(x: Array, filters: Array, shape: Conv2dShape) -> Array:
    return im2col.convolve(x, filters, shape, _multiply)
