"""The mean of the pixels of each window that lie inside the image, a ladder; and the gradients.

Each rung is (x, shape) -> y: (N, H, W, C) -> (N, OH, OW, C).

Padding is not counted, as TensorFlow has it.  Counting it changes every border pixel of
Inception-v4 from Mixed_5b on.
"""

import math

import numpy as np
from numba import prange

from minincep_kernels import Array, buffers
from minincep_kernels.jit import kernel
from minincep_kernels.pool.windows import span
from minincep_kernels.registry import Variant, prefer, register, variant
from minincep_kernels.shapes import Pool2dShape


@variant("avg_pool2d", name="naive")
def naive(x: Array, shape: Pool2dShape) -> Array:
    """The definition: each window anew, its channels side by side.

    KH KW additions for a number of y.  x comes from memory once and KH KW times from the cache,
    where the sums of a pixel are kept, too: 4 bytes for each number of x and of y, and 8 KH KW from
    and to the cache.  Bound by the cache.
    """
    y = buffers.empty(shape.output, x.dtype)
    _naive(x, shape.kernel, shape.stride, shape.corner, y)
    return y


def separable(x: Array, shape: Pool2dShape) -> Array:
    """First the sums over the height of the windows, pixel by pixel, then over their width.

    What changes: windows side by side share the sums of their columns, so KH + KW additions do for
    a number of y where KH KW did, with stride 1.  From and to memory it is the same 4 bytes for
    each number of x and of y, and less than half from and to the cache: windows of 3 add in
    registers.  Bound by bandwidth on large maps.

    Source: separable filters are as old as image processing; McDonnell 1981, "Box-filtering
    techniques", goes on from here to running sums, which would add up rounding errors.
    """
    y = buffers.empty(shape.output, x.dtype)
    _separable(x, shape.kernel, shape.stride, shape.corner, y)
    return y


def _work(shape: Pool2dShape) -> float:
    sums = shape.batch * shape.out_height * shape.width * shape.channels
    return shape.kernel[0] * sums + shape.kernel[1] * math.prod(shape.output)


register(
    Variant(
        op="avg_pool2d",
        name="separable",
        supports=lambda shape: True,
        forward=separable,
        below="naive",
        work=_work,
    )
)
prefer("avg_pool2d", lambda shape, part: "separable")


@kernel
def _naive(
    x: Array,
    window: tuple[int, int],
    stride: tuple[int, int],
    corner: tuple[int, int],
    out: Array,
) -> None:
    batch, height, width, channels = x.shape
    _, out_height, out_width, _ = out.shape
    for row in prange(batch * out_height):
        n, i = divmod(np.int64(row), out_height)
        top, bottom = span(i, window[0], stride[0], corner[0], height)
        for j in range(out_width):
            left, right = span(j, window[1], stride[1], corner[1], width)
            out[n, i, j, :] = 0
            for h in range(top, bottom):
                for w in range(left, right):
                    for c in range(channels):
                        out[n, i, j, c] += x[n, h, w, c]
            count = x.dtype.type((bottom - top) * (right - left))
            for c in range(channels):
                out[n, i, j, c] /= count


@kernel
def _separable(
    x: Array,
    window: tuple[int, int],
    stride: tuple[int, int],
    corner: tuple[int, int],
    out: Array,
) -> None:
    """First the sums over the height of the windows, pixel by pixel, then over their width."""
    batch, height, width, channels = x.shape
    _, out_height, out_width, _ = out.shape
    for row in prange(batch * out_height):
        n, i = divmod(np.int64(row), out_height)
        top, bottom = span(i, window[0], stride[0], corner[0], height)
        sums = np.empty((width, channels), x.dtype)
        for w in range(width):
            if bottom - top == 3:  # nearly all of them, in one go
                for c in range(channels):
                    sums[w, c] = x[n, top, w, c] + x[n, top + 1, w, c] + x[n, top + 2, w, c]
                continue
            sums[w] = 0
            for h in range(top, bottom):
                for c in range(channels):
                    sums[w, c] += x[n, h, w, c]
        for j in range(out_width):
            left, right = span(j, window[1], stride[1], corner[1], width)
            count = x.dtype.type((bottom - top) * (right - left))
            if right - left == 3:
                for c in range(channels):
                    total = sums[left, c] + sums[left + 1, c] + sums[left + 2, c]
                    out[n, i, j, c] = total / count
                continue
            out[n, i, j] = 0
            for w in range(left, right):
                for c in range(channels):
                    out[n, i, j, c] += sums[w, c]
            for c in range(channels):
                out[n, i, j, c] /= count


@kernel
def _average_backward(
    gy: Array,
    window: tuple[int, int],
    stride: tuple[int, int],
    corner: tuple[int, int],
    out: Array,
) -> None:
    """First the sums over the windows that cover a row, then over those that cover a pixel."""
    batch, height, width, channels = out.shape
    _, out_height, out_width, _ = gy.shape
    one = gy.dtype.type(1)
    for row in prange(batch * height):
        n, h = divmod(np.int64(row), height)
        sums = np.zeros((out_width, channels), gy.dtype)
        for u in range(window[0]):
            i, between = divmod(h + corner[0] - u, stride[0])
            if between or not 0 <= i < out_height:
                continue
            share = one / gy.dtype.type(min(h - u + window[0], height) - max(h - u, 0))
            for j in range(out_width):
                for c in range(channels):
                    sums[j, c] += gy[n, i, j, c] * share
        for j in range(out_width):
            left = j * stride[1] - corner[1]
            share = one / gy.dtype.type(min(left + window[1], width) - max(left, 0))
            for c in range(channels):
                sums[j, c] *= share
        for w in range(width):
            last = (w + corner[1]) // stride[1]
            first = last - (window[1] - 1 - (w + corner[1]) % stride[1]) // stride[1]
            first, last = max(first, 0), min(last, out_width - 1)
            if last - first == 2:
                for c in range(channels):
                    out[n, h, w, c] = sums[first, c] + sums[first + 1, c] + sums[last, c]
                continue
            out[n, h, w] = 0
            for j in range(first, last + 1):
                for c in range(channels):
                    out[n, h, w, c] += sums[j, c]


def average_backward(gy: Array, shape: Pool2dShape) -> Array:
    """Each output gradient is shared out evenly: (N, OH, OW, C) -> (N, H, W, C)."""
    gx = buffers.empty(shape.input, gy.dtype)
    _average_backward(gy, shape.kernel, shape.stride, shape.corner, gx)
    return gx


def global_average_forward(x: Array) -> Array:
    """Mean of all pixels: (N, H, W, C) -> (N, 1, 1, C)."""
    y: Array = x.mean(axis=(1, 2), keepdims=True)
    return y


def global_average_backward(gy: Array, input_shape: tuple[int, ...]) -> Array:
    """The output gradient shared out evenly: (N, 1, 1, C) -> (N, H, W, C)."""
    _, height, width, _ = input_shape
    share = gy / (height * width)
    return np.ascontiguousarray(np.broadcast_to(share, input_shape))
