"""Gradients of batch normalisation: one pass for the sums, and one for the gradient of x.

What the ReLU let through is worked out again from x, so that nothing else need be kept.
"""

import numpy as np
from numba import prange

from minincep_kernels import Array, buffers
from minincep_kernels.jit import kernel
from minincep_kernels.norm.sums import LINE, blocks_of, fold, spread
from minincep_kernels.shapes import NormalizeShape


@kernel
def _products(x: Array, gy: Array, affine: Array, relu: bool, blocks: Array, out: Array) -> None:
    """Sums of gy and of gy (x - mean), gy being 0 where y is not above the lowest.

    2 x (M C,), (3, C) -> (2, C).
    """
    zero = x.dtype.type(0)  # a plain 0 and a float32 would make a float64
    lowest = x.dtype.type(0 if relu else np.nan)  # nothing is below nan
    table = np.empty((3, blocks[0, 2]), x.dtype)
    for row in range(3):
        spread(affine[row], table[row])
    sums = np.empty((len(blocks), 2, blocks[0, 2]))
    for block in prange(len(blocks)):
        start, stop, width = blocks[block, 0], blocks[block, 1], blocks[block, 2]
        lines, of_gy = x[start:stop].reshape(-1, width), gy[start:stop].reshape(-1, width)
        sums[block] = 0
        first, second = sums[block, 0], sums[block, 1]
        twos = len(lines) // 2 * 2
        for k in range(0, twos, 2):
            for c in range(width):
                g, h = of_gy[k, c], of_gy[k + 1, c]
                p = lines[k, c] - table[0, c]
                q = lines[k + 1, c] - table[0, c]
                g = zero if p * table[1, c] + table[2, c] <= lowest else g
                h = zero if q * table[1, c] + table[2, c] <= lowest else h
                first[c] += np.float64(g) + np.float64(h)
                second[c] += np.float64(g * p) + np.float64(h * q)
        for k in range(twos, len(lines)):
            for c in range(width):
                g = of_gy[k, c]
                p = lines[k, c] - table[0, c]
                g = zero if p * table[1, c] + table[2, c] <= lowest else g
                first[c] += g
                second[c] += g * p
    fold(sums, blocks, out)


@kernel
def _input_gradient(
    x: Array, gy: Array, affine: Array, relu: bool, inverse: Array, sums: Array, out: Array
) -> None:
    """Scale (gy - mean_gy - (x - mean) slope), gy being 0 where y is not above the lowest."""
    zero = x.dtype.type(0)
    lowest = x.dtype.type(0 if relu else np.nan)  # nothing is below nan
    channels = affine.shape[1]
    rows = len(x) // channels
    means = np.empty((2, channels), x.dtype)
    for c in range(channels):
        means[0, c] = sums[0, c] / rows
        means[1, c] = sums[1, c] / rows * (np.float64(inverse[c]) * np.float64(inverse[c]))
    width = max(1, LINE // channels) * channels
    table = np.empty((5, width), x.dtype)
    for row in range(5):
        spread(affine[row] if row < 3 else means[row - 3], table[row])
    for k in prange((len(x) + width - 1) // width):
        first = np.int64(k) * width
        line, of_gy = x[first : first + width], gy[first : first + width]
        place = out[first : first + width]
        for c in range(len(line)):
            g = of_gy[c]
            p = line[c] - table[0, c]
            g = zero if p * table[1, c] + table[2, c] <= lowest else g
            place[c] = table[1, c] * (g - table[3, c] - p * table[4, c])


@kernel
def _scaled_gradient(
    x: Array, gy: Array, affine: Array, relu: bool, factor: Array, out: Array
) -> None:
    """Factor gy, gy being 0 where y is not above the lowest."""
    zero = x.dtype.type(0)
    lowest = x.dtype.type(0 if relu else np.nan)  # nothing is below nan
    channels = affine.shape[1]
    width = max(1, LINE // channels) * channels
    table = np.empty((4, width), x.dtype)
    for row in range(4):
        spread(affine[row] if row < 3 else factor, table[row])
    for k in prange((len(x) + width - 1) // width):
        first = np.int64(k) * width
        line, of_gy = x[first : first + width], gy[first : first + width]
        place = out[first : first + width]
        for c in range(len(line)):
            g = of_gy[c]
            y = (line[c] - table[0, c]) * table[1, c] + table[2, c]
            place[c] = table[3, c] * (zero if y <= lowest else g)


def sums_backward(x: Array, gy: Array, affine: Array, shape: NormalizeShape) -> Array:
    """Sums over all rows of gy, and of gy (x - mean): (..., C), (3, C) -> (2, C), float64.

    With a ReLU, only of the gy that it lets through.
    """
    sums = np.zeros((2, shape.channels))
    if x.size:
        blocks = blocks_of(*shape.input)
        _products(x.reshape(-1), gy.reshape(-1), affine, shape.relu, blocks, sums)
    return sums


def input_gradient(
    x: Array, gy: Array, affine: Array, inverse: Array, sums: Array, shape: NormalizeShape
) -> Array:
    """Scale (gy - mean_gy - (x - mean) slope): (..., C) -> (..., C).

    For batch statistics: with the sums of `sums_backward` over the rows, mean_gy is the first, and
    slope the second over the variance.  With a ReLU, gy is 0 where it lets nothing through.
    """
    gx = buffers.empty(x.shape, x.dtype)
    if x.size:
        of_x, of_gy, of_gx = x.reshape(-1), gy.reshape(-1), gx.reshape(-1)
        _input_gradient(of_x, of_gy, affine, shape.relu, inverse, sums, of_gx)
    return gx


def scaled_gradient(
    x: Array, gy: Array, affine: Array, factor: Array, shape: NormalizeShape
) -> Array:
    """Factor gy: (..., C), (C,) -> (..., C), 0 where the ReLU lets nothing through.

    For statistics that are constants: the factor is the scale of `normalize`.
    """
    gx = buffers.empty(x.shape, x.dtype)
    of_x, of_gy, of_gx = x.reshape(-1), gy.reshape(-1), gx.reshape(-1)
    _scaled_gradient(of_x, of_gy, affine, shape.relu, factor, of_gx)
    return gx
