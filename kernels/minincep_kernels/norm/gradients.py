"""Gradients of batch normalisation: one pass for the sums, and one for the gradient of x.

What the ReLU let through is worked out again from x, so that nothing else need be kept.
"""

import numpy as np
from numba import prange

from minincep_kernels import Array, buffers
from minincep_kernels.jit import kernel
from minincep_kernels.norm.sums import LINE, blocks_of, flat, fold, line_of, spread
from minincep_kernels.shapes import NormalizeShape


@kernel
def _products(
    x: Array,
    gy: Array,
    pitches: tuple[int, int],
    affine: Array,
    relu: bool,
    blocks: Array,
    out: Array,
) -> None:
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
        sums[block] = 0
        first, second = sums[block, 0], sums[block, 1]
        k, last = start // width, stop // width
        while k + 2 <= last:
            one, two = line_of(x, k, width, pitches[0]), line_of(x, k + 1, width, pitches[0])
            of_one, of_two = (
                line_of(gy, k, width, pitches[1]),
                line_of(gy, k + 1, width, pitches[1]),
            )
            for c in range(width):
                g, h = of_one[c], of_two[c]
                p, q = one[c] - table[0, c], two[c] - table[0, c]
                g = zero if p * table[1, c] + table[2, c] <= lowest else g
                h = zero if q * table[1, c] + table[2, c] <= lowest else h
                first[c] += np.float64(g) + np.float64(h)
                second[c] += np.float64(g * p) + np.float64(h * q)
            k += 2
        if k < last:
            one, of_one = line_of(x, k, width, pitches[0]), line_of(gy, k, width, pitches[1])
            for c in range(width):
                g = of_one[c]
                p = one[c] - table[0, c]
                g = zero if p * table[1, c] + table[2, c] <= lowest else g
                first[c] += g
                second[c] += g * p
    fold(sums, blocks, out)


@kernel
def _relu_gradient_sums(
    y: Array, gy: Array, blocks: Array, out_gradient: Array, out: Array
) -> None:
    """Gy where y > 0, else 0, and the sums of that: 2 x (M C,) -> (M C,), (1, C)."""
    zero = y.dtype.type(0)
    sums = np.empty((len(blocks), 1, blocks[0, 2]))
    for block in prange(len(blocks)):
        start, stop, width = blocks[block, 0], blocks[block, 1], blocks[block, 2]
        sums[block] = 0
        place = sums[block, 0]
        for k in range(start // width, stop // width):
            of_y, of_gy = line_of(y, k, width, 0), line_of(gy, k, width, 0)
            of_out = line_of(out_gradient, k, width, 0)
            for c in range(width):
                g = of_gy[c]
                g = g if of_y[c] > 0 else zero
                of_out[c] = g
                place[c] += g
    fold(sums, blocks, out)


@kernel
def _input_gradient(
    x: Array,
    gy: Array,
    pitches: tuple[int, int],
    affine: Array,
    relu: bool,
    inverse: Array,
    sums: Array,
    out: Array,
) -> None:
    """Scale (gy - mean_gy - (x - mean) slope), gy being 0 where y is not above the lowest."""
    zero = x.dtype.type(0)
    lowest = x.dtype.type(0 if relu else np.nan)  # nothing is below nan
    channels = affine.shape[1]
    rows = len(out) // channels
    means = np.empty((2, channels), x.dtype)
    for c in range(channels):
        means[0, c] = sums[0, c] / rows
        means[1, c] = sums[1, c] / rows * (np.float64(inverse[c]) * np.float64(inverse[c]))
    width = channels if max(pitches) else max(1, LINE // channels) * channels
    table = np.empty((5, width), x.dtype)
    for row in range(5):
        spread(affine[row] if row < 3 else means[row - 3], table[row])
    for k in prange((len(out) + width - 1) // width):
        place = line_of(out, np.int64(k), width, 0)
        line = line_of(x, np.int64(k), width, pitches[0])
        of_gy = line_of(gy, np.int64(k), width, pitches[1])
        for c in range(len(place)):
            g = of_gy[c]
            p = line[c] - table[0, c]
            g = zero if p * table[1, c] + table[2, c] <= lowest else g
            place[c] = table[1, c] * (g - table[3, c] - p * table[4, c])


@kernel
def _scaled_gradient(
    x: Array,
    gy: Array,
    pitches: tuple[int, int],
    affine: Array,
    relu: bool,
    factor: Array,
    out: Array,
) -> None:
    """Factor gy, gy being 0 where y is not above the lowest."""
    zero = x.dtype.type(0)
    lowest = x.dtype.type(0 if relu else np.nan)  # nothing is below nan
    channels = affine.shape[1]
    width = channels if max(pitches) else max(1, LINE // channels) * channels
    table = np.empty((4, width), x.dtype)
    for row in range(4):
        spread(affine[row] if row < 3 else factor, table[row])
    for k in prange((len(out) + width - 1) // width):
        place = line_of(out, np.int64(k), width, 0)
        line = line_of(x, np.int64(k), width, pitches[0])
        of_gy = line_of(gy, np.int64(k), width, pitches[1])
        for c in range(len(place)):
            g = of_gy[c]
            y = (line[c] - table[0, c]) * table[1, c] + table[2, c]
            place[c] = table[3, c] * (zero if y <= lowest else g)


def _flat(x: Array, gy: Array, shape: NormalizeShape) -> tuple[list[Array], tuple[int, int]]:
    """The numbers of both, and how far apart the rows of each are, 0 if of none."""
    (of_x, x_pitch), (of_gy, gy_pitch) = (flat(a.reshape(shape.input)) for a in (x, gy))
    if x_pitch or gy_pitch:
        x_pitch, gy_pitch = x_pitch or shape.channels, gy_pitch or shape.channels
    return [of_x, of_gy], (x_pitch, gy_pitch)


def sums_backward(x: Array, gy: Array, affine: Array, shape: NormalizeShape) -> Array:
    """Sums over all rows of gy, and of gy (x - mean): (..., C), (3, C) -> (2, C), float64.

    With a ReLU, only of the gy that it lets through.
    """
    sums = np.zeros((2, shape.channels))
    if x.size:
        numbers, pitches = _flat(x, gy, shape)
        blocks = blocks_of(*shape.input, max(pitches))
        _products(*numbers, pitches, affine, shape.relu, blocks, sums)
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
        numbers, pitches = _flat(x, gy, shape)
        _input_gradient(*numbers, pitches, affine, shape.relu, inverse, sums, gx.reshape(-1))
    return gx


def scaled_gradient(
    x: Array, gy: Array, affine: Array, factor: Array, shape: NormalizeShape
) -> Array:
    """Factor gy: (..., C), (C,) -> (..., C), 0 where the ReLU lets nothing through.

    For statistics that are constants: the factor is the scale of `normalize`.
    """
    gx = buffers.empty(x.shape, x.dtype)
    numbers, pitches = _flat(x, gy, shape)
    _scaled_gradient(*numbers, pitches, affine, shape.relu, factor, gx.reshape(-1))
    return gx


def relu_gradient_sums(y: Array, gy: Array) -> tuple[Array, Array]:
    """Gy where y > 0, else 0, and the sum of each channel of that: -> (..., C), (C,).

    The gradients of what a ReLU follows, and of a bias in it.
    """
    channels = y.shape[-1]
    g, sums = buffers.empty(y.shape, y.dtype), np.zeros((1, channels))
    if y.size:
        blocks = blocks_of(y.size // channels, channels)
        _relu_gradient_sums(y.reshape(-1), gy.reshape(-1), blocks, g.reshape(-1), sums)
    return g, sums[0].astype(y.dtype)
