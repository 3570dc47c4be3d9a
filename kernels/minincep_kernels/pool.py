"""Pooling: the largest value or the mean of each window, channel by channel.

Backwards, each input pixel asks the few windows that cover it for its share.  Asking, instead of
windows handing out, means that no two threads ever write to one place.
"""

import numpy as np
from numba import prange

from minincep_kernels import Array
from minincep_kernels.jit import kernel
from minincep_kernels.shapes import Pool2dShape


@kernel
def _max_forward(
    x: Array,
    window: tuple[int, int],
    stride: tuple[int, int],
    corner: tuple[int, int],
    out: Array,
    out_argmax: Array,
) -> None:
    batch, height, width, channels = x.shape
    _, out_height, out_width, _ = out.shape
    for row in prange(batch * out_height):
        n, i = divmod(np.int64(row), out_height)
        for j in range(out_width):
            out[n, i, j, :] = -np.inf
            out_argmax[n, i, j, :] = -1
            for u in range(window[0]):
                h = i * stride[0] + u - corner[0]
                if not 0 <= h < height:
                    continue
                for v in range(window[1]):
                    w = j * stride[1] + v - corner[1]
                    if not 0 <= w < width:
                        continue
                    for c in range(channels):
                        value = x[n, h, w, c]
                        # The first of equals wins, and so does the first that is not a number.
                        best = out[n, i, j, c]
                        if value > best or (value != value and best == best):
                            out[n, i, j, c] = value
                            out_argmax[n, i, j, c] = h * width + w


@kernel
def _max_backward(
    gy: Array,
    argmax: Array,
    window: tuple[int, int],
    stride: tuple[int, int],
    corner: tuple[int, int],
    out: Array,
) -> None:
    batch, height, width, channels = out.shape
    _, out_height, out_width, _ = gy.shape
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
                    for c in range(channels):
                        if argmax[n, i, j, c] == h * width + w:
                            out[n, h, w, c] += gy[n, i, j, c]


@kernel
def _average_forward(
    x: Array,
    window: tuple[int, int],
    stride: tuple[int, int],
    corner: tuple[int, int],
    out: Array,
) -> None:
    batch, height, width, _ = x.shape
    _, out_height, out_width, _ = out.shape
    for row in prange(batch * out_height):
        n, i = divmod(np.int64(row), out_height)
        top = i * stride[0] - corner[0]
        bottom = min(top + window[0], height)
        top = max(top, 0)
        for j in range(out_width):
            left = j * stride[1] - corner[1]
            right = min(left + window[1], width)
            left = max(left, 0)
            out[n, i, j, :] = 0
            for h in range(top, bottom):
                for w in range(left, right):
                    out[n, i, j, :] += x[n, h, w, :]
            out[n, i, j, :] /= (bottom - top) * (right - left)


@kernel
def _average_backward(
    gy: Array,
    window: tuple[int, int],
    stride: tuple[int, int],
    corner: tuple[int, int],
    out: Array,
) -> None:
    batch, height, width, _ = out.shape
    _, out_height, out_width, channels = gy.shape
    for row in prange(batch * height):
        n, h = divmod(np.int64(row), height)
        for w in range(width):
            out[n, h, w, :] = 0
            for u in range(window[0]):
                i, between = divmod(h + corner[0] - u, stride[0])
                if between or not 0 <= i < out_height:
                    continue
                top = h - u
                rows = min(top + window[0], height) - max(top, 0)
                for v in range(window[1]):
                    j, between = divmod(w + corner[1] - v, stride[1])
                    if between or not 0 <= j < out_width:
                        continue
                    left = w - v
                    columns = min(left + window[1], width) - max(left, 0)
                    for c in range(channels):
                        out[n, h, w, c] += gy[n, i, j, c] / (rows * columns)


def max_forward(x: Array, shape: Pool2dShape) -> tuple[Array, Array]:
    """Largest value of each window, and the pixel h W + w that it came from (int32), or -1.

    (N, H, W, C) -> 2 x (N, OH, OW, C).  Padding never wins; -1 marks a window that saw nothing
    above -inf.
    """
    y = np.empty(shape.output, x.dtype)
    argmax = np.empty(shape.output, np.int32)
    _max_forward(x, shape.kernel, shape.stride, shape.corner, y, argmax)
    return y, argmax


def max_backward(gy: Array, argmax: Array, shape: Pool2dShape) -> Array:
    """Each output gradient goes to the pixel that won: (N, OH, OW, C) -> (N, H, W, C)."""
    gx = np.empty(shape.input, gy.dtype)
    _max_backward(gy, argmax, shape.kernel, shape.stride, shape.corner, gx)
    return gx


def average_forward(x: Array, shape: Pool2dShape) -> Array:
    """Mean of the pixels of each window that lie inside the image: (N, H, W, C) -> (N, OH, OW, C).

    Padding is not counted, as TensorFlow has it.  Counting it changes every border pixel of
    Inception-v4 from Mixed_5b on.
    """
    y = np.empty(shape.output, x.dtype)
    _average_forward(x, shape.kernel, shape.stride, shape.corner, y)
    return y


def average_backward(gy: Array, shape: Pool2dShape) -> Array:
    """Each output gradient is shared out evenly: (N, OH, OW, C) -> (N, H, W, C)."""
    gx = np.empty(shape.input, gy.dtype)
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
