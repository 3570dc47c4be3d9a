"""Gradients of batch normalisation: one pass for the sums, then one for the gradient of x.

What the ReLU let through is worked out again from x, so that nothing else need be kept.
"""

import numpy as np
from numba import prange

from minincep_kernels import Array, buffers
from minincep_kernels.jit import kernel
from minincep_kernels.norm.sums import LINE, blocks_of, flat, fold, line_of, spread
from minincep_kernels.shapes import NormalizeShape

NO_BLOCKS = np.zeros((0, 3), np.int64)
NO_BLOCKS.flags.writeable = False


@kernel
def _backward(
    x: Array,
    gy: Array,
    pitches: tuple[int, int],
    table: Array,
    kind: tuple[bool, bool],
    blocks: Array,
    out_sums: Array,
    out: Array,
) -> None:
    """Sums of gy and of gy (x - mean), then factor (gy - mean_gy - (x - mean) slope).

    2 x (M C,), (5, C) -> (2, C), (M C,).  Each half is left out where there are no blocks, or no
    room.  Everywhere gy counts as 0 where y is not above the lowest.
    """
    relu, of_batch = kind
    channels = table.shape[1]
    zero = x.dtype.type(0)  # a plain 0 and a float32 would make a float64
    lowest = x.dtype.type(0 if relu else np.nan)  # nothing is below nan
    longest = blocks[0, 2] if len(blocks) else 0
    affine = np.empty((3, longest), x.dtype)
    for row in range(3):
        spread(table[row], affine[row])
    sums = np.empty((len(blocks), 2, longest))
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
                p, q = one[c] - affine[0, c], two[c] - affine[0, c]
                g = zero if p * affine[1, c] + affine[2, c] <= lowest else g
                h = zero if q * affine[1, c] + affine[2, c] <= lowest else h
                first[c] += np.float64(g) + np.float64(h)
                second[c] += np.float64(g * p) + np.float64(h * q)
            k += 2
        if k < last:
            one, of_one = line_of(x, k, width, pitches[0]), line_of(gy, k, width, pitches[1])
            for c in range(width):
                g = of_one[c]
                p = one[c] - affine[0, c]
                g = zero if p * affine[1, c] + affine[2, c] <= lowest else g
                first[c] += g
                second[c] += g * p
    fold(sums, blocks, out_sums)

    rows = max(1, len(out) // channels)
    means = np.zeros((2, channels), x.dtype)
    if of_batch:
        for c in range(channels):
            inverse = np.float64(table[4, c])
            means[0, c] = out_sums[0, c] / rows
            means[1, c] = out_sums[1, c] / rows * (inverse * inverse)
    width = channels if max(pitches) else max(1, LINE // channels) * channels
    wide = np.empty((6, width), x.dtype)
    for row in range(6):
        spread(table[row] if row < 4 else means[row - 4], wide[row])
    for k in prange((len(out) + width - 1) // width):
        place = line_of(out, np.int64(k), width, 0)
        line = line_of(x, np.int64(k), width, pitches[0])
        of_gy = line_of(gy, np.int64(k), width, pitches[1])
        for c in range(len(place)):
            g = of_gy[c]
            p = line[c] - wide[0, c]
            g = zero if p * wide[1, c] + wide[2, c] <= lowest else g
            place[c] = wide[3, c] * (g - wide[4, c] - p * wide[5, c])


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


def _flat(x: Array, gy: Array, shape: NormalizeShape) -> tuple[list[Array], tuple[int, int]]:
    """The numbers of both, and how far apart the rows of each are, 0 if of none."""
    (of_x, x_pitch), (of_gy, gy_pitch) = (flat(a.reshape(shape.input)) for a in (x, gy))
    if x_pitch or gy_pitch:
        x_pitch, gy_pitch = x_pitch or shape.channels, gy_pitch or shape.channels
    return [of_x, of_gy], (x_pitch, gy_pitch)


def backward(
    x: Array,
    gy: Array,
    table: Array,
    shape: NormalizeShape,
    *,
    of_batch: bool,
    sums: bool = True,
    gradient: bool = True,
) -> tuple[Array, Array]:
    """Sums for the gradients of beta and gamma, and the gradient of x.

    (..., C), (..., C), (5, C) -> (2, C) in float64, (..., C).  The sums, over all rows, are those
    of gy and of gy (x - mean); the gradient is factor (gy - mean_gy - (x - mean) slope).  With a
    ReLU, gy counts as 0 where it lets nothing through.

    Parameters
    ----------
    table
        For each channel: mean, scale and shift as `normalize` takes them, the factor, which is the
        scale again, and 1 / sqrt(variance + eps).
    of_batch
        Whether mean and variance are those of x: mean_gy is the first sum over the rows, then, and
        slope the second over rows and variance.  Else they are constants, and both are 0.
    sums, gradient
        Whether they are wanted; else they are zeros, and an empty array.
    """
    found = np.zeros((2, shape.channels))
    gx = buffers.empty(x.shape if gradient else (0,), x.dtype)
    if x.size:
        numbers, pitches = _flat(x, gy, shape)
        blocks = blocks_of(*shape.input, max(pitches)) if sums or of_batch else NO_BLOCKS
        kind = shape.relu, of_batch
        _backward(*numbers, pitches, table, kind, blocks, found, gx.reshape(-1))
    return found, gx


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
