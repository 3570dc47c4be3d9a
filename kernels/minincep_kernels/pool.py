"""Pooling: the largest value or the mean of each window, channel by channel.

Backwards, each input pixel asks the few windows that cover it for its share.  Asking, instead of
windows handing out, means that no two threads ever write to one place.

All inner loops run over channels, which lie together.
"""

import numpy as np
from numba import prange

from minincep_kernels import Array, buffers
from minincep_kernels.jit import kernel
from minincep_kernels.shapes import Pool2dShape


@kernel
def _max_forward(
    x: Array,
    window: tuple[int, int],
    stride: tuple[int, int],
    corner: tuple[int, int],
    out: Array,
    out_place: Array,
) -> None:
    batch, height, width, channels = x.shape
    _, out_height, out_width, _ = out.shape
    nowhere = out_place.dtype.type(window[0] * window[1])
    for row in prange(batch * out_height):
        n, i = divmod(np.int64(row), out_height)
        for j in range(out_width):
            out[n, i, j, :] = -np.inf
            out_place[n, i, j, :] = nowhere
            for u in range(window[0]):
                h = i * stride[0] + u - corner[0]
                if not 0 <= h < height:
                    continue
                for v in range(window[1]):
                    w = j * stride[1] + v - corner[1]
                    if not 0 <= w < width:
                        continue
                    here = out_place.dtype.type(u * window[1] + v)
                    for c in range(channels):
                        value, best, place = x[n, h, w, c], out[n, i, j, c], out_place[n, i, j, c]
                        # The first of equals wins, and so does the first that is not a number.
                        wins = (value > best) | ((value != value) & (best == best))
                        out[n, i, j, c] = value if wins else best
                        out_place[n, i, j, c] = here if wins else place


@kernel
def _max_backward(
    gy: Array,
    place: Array,
    window: tuple[int, int],
    stride: tuple[int, int],
    corner: tuple[int, int],
    out: Array,
) -> None:
    batch, height, width, channels = out.shape
    _, out_height, out_width, _ = gy.shape
    zero = gy.dtype.type(0)
    for row in prange(batch * height):
        n, h = divmod(np.int64(row), height)
        for w in range(width):
            out[n, h, w, :] = 0
            for u in range(window[0]):
                i, between = divmod(h + corner[0] - u, stride[0])
                if between or not 0 <= i < out_height:
                    continue
                for v in range(window[1]):
                    j, between = divmod(w + corner[1] - v, stride[1])
                    if between or not 0 <= j < out_width:
                        continue
                    here = place.dtype.type(u * window[1] + v)
                    for c in range(channels):
                        g = gy[n, i, j, c]
                        out[n, h, w, c] += g if place[n, i, j, c] == here else zero


@kernel
def _average_forward(
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
        top = max(i * stride[0] - corner[0], 0)
        bottom = min(i * stride[0] - corner[0] + window[0], height)
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
            left = max(j * stride[1] - corner[1], 0)
            right = min(j * stride[1] - corner[1] + window[1], width)
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


def max_forward(x: Array, shape: Pool2dShape) -> tuple[Array, Array]:
    """Largest value of each window, and where in the window it is, u KW + v, or KH KW for nowhere.

    (N, H, W, C) -> 2 x (N, OH, OW, C), the second in the smallest type of whole numbers that will
    do.  Padding never wins; nowhere is the largest of a window that saw nothing above -inf.
    """
    y = buffers.empty(shape.output, x.dtype)
    nowhere = shape.kernel[0] * shape.kernel[1]
    place = buffers.empty(shape.output, np.min_scalar_type(nowhere))
    _max_forward(x, shape.kernel, shape.stride, shape.corner, y, place)
    return y, place


def max_backward(gy: Array, place: Array, shape: Pool2dShape) -> Array:
    """Each output gradient goes to the pixel that won: (N, OH, OW, C) -> (N, H, W, C)."""
    gx = buffers.empty(shape.input, gy.dtype)
    _max_backward(gy, place, shape.kernel, shape.stride, shape.corner, gx)
    return gx


def average_forward(x: Array, shape: Pool2dShape) -> Array:
    """Mean of the pixels of each window that lie inside the image: (N, H, W, C) -> (N, OH, OW, C).

    Padding is not counted, as TensorFlow has it.  Counting it changes every border pixel of
    Inception-v4 from Mixed_5b on.
    """
    y = buffers.empty(shape.output, x.dtype)
    _average_forward(x, shape.kernel, shape.stride, shape.corner, y)
    return y


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
