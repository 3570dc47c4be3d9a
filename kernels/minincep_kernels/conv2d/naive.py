"""The definition of convolution, loop by loop: the oracle for everything faster.

Seven nested loops.  Each output value is one sum, in one fixed order, and nothing is copied.  The
lines of the output are shared out to all threads.

*Cost.*  2 N OH OW KH KW C OC operations.  For each multiply-add a number of the filters and one of
the output are read and one is written, 12 bytes, and for each output pixel the filters are read
whole, 4 KH KW C OC bytes: from the cache that holds them, or from memory.

*Bound by* loads and stores, of which each multiply-add takes three; a number that was fetched is
used once and fetched again.
"""

import numpy as np
from numba import prange

from minincep_kernels import Array
from minincep_kernels.jit import kernel
from minincep_kernels.registry import IN_SEQUENCE_TOLERANCE, Variant, register
from minincep_kernels.shapes import Conv2dShape


@kernel
def _forward(
    x: Array, filters: Array, stride: tuple[int, int], corner: tuple[int, int], out: Array
) -> None:
    batch, height, width, channels = x.shape
    kernel_height, kernel_width = filters.shape[:2]
    _, out_height, out_width, out_channels = out.shape
    for row in prange(batch * out_height):
        n, i = divmod(np.int64(row), out_height)
        for j in range(out_width):
            out[n, i, j, :] = 0
            for u in range(kernel_height):
                h = i * stride[0] + u - corner[0]
                if not 0 <= h < height:
                    continue
                for v in range(kernel_width):
                    w = j * stride[1] + v - corner[1]
                    if not 0 <= w < width:
                        continue
                    for c in range(channels):
                        for o in range(out_channels):
                            out[n, i, j, o] += x[n, h, w, c] * filters[u, v, c, o]


@kernel
def _input_gradient(
    gy: Array, filters: Array, stride: tuple[int, int], corner: tuple[int, int], out: Array
) -> None:
    batch, height, width, channels = out.shape
    kernel_height, kernel_width = filters.shape[:2]
    _, out_height, out_width, out_channels = gy.shape
    for row in prange(batch * height):
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
                    for c in range(channels):
                        for o in range(out_channels):
                            out[n, h, w, c] += gy[n, i, j, o] * filters[u, v, c, o]


@kernel
def _filter_gradient(
    x: Array, gy: Array, stride: tuple[int, int], corner: tuple[int, int], out: Array
) -> None:
    batch, height, width, _ = x.shape
    kernel_height, kernel_width, channels, out_channels = out.shape
    _, out_height, out_width, _ = gy.shape
    for tap in prange(kernel_height * kernel_width * channels):
        u, v_and_c = divmod(np.int64(tap), kernel_width * channels)
        v, c = divmod(v_and_c, channels)
        out[u, v, c, :] = 0
        for n in range(batch):
            for i in range(out_height):
                h = i * stride[0] + u - corner[0]
                if not 0 <= h < height:
                    continue
                for j in range(out_width):
                    w = j * stride[1] + v - corner[1]
                    if not 0 <= w < width:
                        continue
                    for o in range(out_channels):
                        out[u, v, c, o] += x[n, h, w, c] * gy[n, i, j, o]


def forward(x: Array, filters: Array, shape: Conv2dShape) -> Array:
    y = np.empty(shape.output, x.dtype)
    _forward(x, filters, shape.stride, shape.corner, y)
    return y


def input_gradient(gy: Array, filters: Array, shape: Conv2dShape) -> Array:
    gx = np.empty(shape.input, gy.dtype)
    _input_gradient(gy, filters, shape.stride, shape.corner, gx)
    return gx


def filter_gradient(x: Array, gy: Array, shape: Conv2dShape) -> Array:
    gw = np.empty(shape.filters, x.dtype)
    _filter_gradient(x, gy, shape.stride, shape.corner, gw)
    return gw


register(
    Variant(
        op="conv2d",
        name="naive",
        supports=lambda shape: True,
        forward=forward,
        input_gradient=input_gradient,
        filter_gradient=filter_gradient,
        tolerance=IN_SEQUENCE_TOLERANCE,
    )
)
