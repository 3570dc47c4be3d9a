"""Convolution as one matrix product: copy the patch behind each output pixel into a row.

    columns (N OH OW, KH KW C)  @  filters (KH KW C, OC)  ->  y (N OH OW, OC)

*What changes.*  The copy costs KH KW times the memory of the input, and buys the whole speed of a
matrix product, which is where decades of tuning are: here that of NumPy's BLAS.  With channels
last, a patch is KH pieces of KW C numbers that lie together, and y needs no transpose.

*Cost.*  2 N OH OW KH KW C OC operations, as in the definition.  The columns, 4 N OH OW KH KW C
bytes, are written and read once each: for a filter of 3 x 3 that is nine times the input, twice.

*Bound by* the multiply-adds where there are many output channels to share the copy; by the
bandwidth of memory where there are few, as in the first layers.  On two threads it is hardly faster
than on one: the copy runs on Numba's threads and the product on those of the BLAS, and whichever
have finished look out for more work a while, on the cores that the others need.  (Where Numba has
GNU OpenMP, ``GOMP_SPINCOUNT=0`` in the environment sends them to sleep: then it takes two thirds.)

Chellapilla, Puri and Simard 2006, "High performance convolutional neural networks for document
processing", section 3.

The batch is done in parts, so that the columns never take more than `WORKSPACE` bytes, or one
image if that is more.

Backwards, the input gradient is the same product with the filters transposed, and then `col2im`:
each input pixel gathers its share from every patch that it was copied into.  The filter gradient
is the product of the columns, transposed, with the output gradient.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numba import prange

from minincep_kernels import Array
from minincep_kernels.jit import kernel
from minincep_kernels.registry import Variant, register
from minincep_kernels.shapes import Conv2dShape

WORKSPACE = 64 * 2**20


@kernel
def im2col(x: Array, stride: tuple[int, int], corner: tuple[int, int], out: Array) -> None:
    """Patches of x (N, H, W, C) -> columns (N, OH, OW, KH, KW, C)."""
    batch, height, width, _ = x.shape
    _, out_height, out_width, kernel_height, kernel_width, _ = out.shape
    for row in prange(batch * out_height):
        n, i = divmod(np.int64(row), out_height)
        for j in range(out_width):
            for u in range(kernel_height):
                h = i * stride[0] + u - corner[0]
                for v in range(kernel_width):
                    w = j * stride[1] + v - corner[1]
                    if 0 <= h < height and 0 <= w < width:
                        out[n, i, j, u, v, :] = x[n, h, w, :]
                    else:
                        out[n, i, j, u, v, :] = 0


@kernel
def col2im(columns: Array, stride: tuple[int, int], corner: tuple[int, int], out: Array) -> None:
    """Columns (N, OH, OW, KH, KW, C), each added to the pixel that it came from -> (N, H, W, C)."""
    batch, height, width, _ = out.shape
    _, out_height, out_width, kernel_height, kernel_width, _ = columns.shape
    for row in prange(batch * height):  # gathering, not scattering: no two threads meet
        n, h = divmod(np.int64(row), height)
        for w in range(width):
            out[n, h, w, :] = 0
            for u in range(kernel_height):
                i, between = divmod(h + corner[0] - u, stride[0])
                if between or not 0 <= i < out_height:
                    continue
                for v in range(kernel_width):
                    j, between = divmod(w + corner[1] - v, stride[1])
                    if between or not 0 <= j < out_width:
                        continue
                    out[n, h, w, :] += columns[n, i, j, u, v, :]


def _batch_parts(shape: Conv2dShape, dtype: np.dtype[Any]) -> Iterator[tuple[slice, Array]]:
    """Parts of the batch, each with columns (n, OH, OW, KH, KW, C) to fill."""
    grid = (shape.out_height, shape.out_width, *shape.kernel, shape.channels)
    step = max(1, WORKSPACE // (math.prod(grid) * dtype.itemsize))
    columns = np.empty((min(step, shape.batch), *grid), dtype)
    for first in range(0, shape.batch, step):
        part = slice(first, min(first + step, shape.batch))
        yield part, columns[: part.stop - part.start]


def convolve(
    x: Array, filters: Array, shape: Conv2dShape, multiply: Callable[[Array, Array, Array], object]
) -> Array:
    """Convolve by way of columns and of a function (a, b, c) that sets c to a @ b."""
    y = np.empty(shape.output, x.dtype)
    matrix = filters.reshape(shape.taps, shape.out_channels)
    for part, columns in _batch_parts(shape, x.dtype):
        im2col(x[part], shape.stride, shape.corner, columns)
        rows = y[part].reshape(-1, shape.out_channels)
        multiply(columns.reshape(-1, shape.taps), matrix, rows)
    return y


def forward(x: Array, filters: Array, shape: Conv2dShape) -> Array:
    return convolve(x, filters, shape, np.matmul)


def input_gradient(gy: Array, filters: Array, shape: Conv2dShape) -> Array:
    gx = np.empty(shape.input, gy.dtype)
    matrix = filters.reshape(shape.taps, shape.out_channels)
    for part, columns in _batch_parts(shape, gy.dtype):
        rows = gy[part].reshape(-1, shape.out_channels)
        np.matmul(rows, matrix.T, out=columns.reshape(-1, shape.taps))
        col2im(columns, shape.stride, shape.corner, gx[part])
    return gx


def filter_gradient(x: Array, gy: Array, shape: Conv2dShape) -> Array:
    gw = np.zeros((shape.taps, shape.out_channels), x.dtype)
    for part, columns in _batch_parts(shape, x.dtype):
        im2col(x[part], shape.stride, shape.corner, columns)
        rows = gy[part].reshape(-1, shape.out_channels)
        gw += columns.reshape(-1, shape.taps).T @ rows
    return gw.reshape(shape.filters)


register(
    Variant(
        op="conv2d",
        name="im2col",
        supports=lambda shape: True,
        forward=forward,
        input_gradient=input_gradient,
        filter_gradient=filter_gradient,
        below="naive",
        uses_blas=True,
    )
)
