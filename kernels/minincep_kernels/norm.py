"""Batch normalisation, alone or with a ReLU after it: y = (x - mean) scale + shift.

Ioffe and Szegedy 2015, "Batch normalization", algorithm 1, with scale = gamma / sqrt(variance +
eps) and shift = beta.  The last axis is the channel, all others together are the rows.

All of it is bound by memory, so each function reads its arrays once.  Forwards that is one pass for
mean and variance and one that normalises; backwards one for the sums and one for the gradient.
What the ReLU let through is worked out again from x, so that nothing else need be kept.

Sums over rows are taken in float64, in blocks whose bounds depend on the shape alone, so that a
result never depends on the number of threads.  Several rows are one line for the kernels, so that
their inner loops are long where there are few channels.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numba import prange
from numba.extending import register_jitable

from minincep_kernels import Array, buffers
from minincep_kernels.jit import kernel

LINE = 512  # numbers in a line, at most, if there are no more channels
BLOCKS = 64
SHORTEST = 16  # lines in a block, at least, if there are two blocks or more


class Affine(NamedTuple):
    """What is done to each channel: (x - mean) scale + shift, each (C,), then perhaps a ReLU."""

    mean: Array
    scale: Array
    shift: Array
    relu: bool = False

    def lowest(self) -> np.floating:
        """Below this there is nothing; nan, which is above and below nothing, without a ReLU."""
        number: np.floating = self.mean.dtype.type(0 if self.relu else np.nan)
        return number


@register_jitable  # type: ignore[untyped-decorator]  # Numba has no types
def _bounds(block: int, lines: int, blocks: int) -> tuple[int, int]:
    return block * lines // blocks, (block + 1) * lines // blocks


@kernel
def _block_moments(x: Array, middle: Array, out: Array) -> None:
    """Sums of x - middle and of their squares: (lines, W), (W,) -> (blocks, 2, W)."""
    lines, width = len(x), out.shape[2]
    blocks = out.shape[0]
    for block in prange(blocks):
        out[block] = 0
        first, last = _bounds(np.int64(block), lines, blocks)
        fours = first + (last - first) // 4 * 4
        for k in range(first, fours, 4):  # so that each sum is fetched once for four numbers
            for c in range(width):
                p = np.float64(x[k, c]) - middle[c]
                q = np.float64(x[k + 1, c]) - middle[c]
                r = np.float64(x[k + 2, c]) - middle[c]
                s = np.float64(x[k + 3, c]) - middle[c]
                out[block, 0, c] += (p + q) + (r + s)
                out[block, 1, c] += (p * p + q * q) + (r * r + s * s)
        for k in range(fours, last):
            for c in range(width):
                p = np.float64(x[k, c]) - middle[c]
                out[block, 0, c] += p
                out[block, 1, c] += p * p


@kernel
def _block_products(x: Array, gy: Array, affine: Array, lowest: float, out: Array) -> None:
    """Sums of gy and of gy (x - mean), gy being 0 where y is not above the lowest.

    2 x (lines, W), (3, W) -> (blocks, 2, W).
    """
    lines, width = len(x), out.shape[2]
    blocks = out.shape[0]
    zero = x.dtype.type(0)  # a plain 0 and a float32 would make a float64
    for block in prange(blocks):
        out[block] = 0
        first, last = _bounds(np.int64(block), lines, blocks)
        twos = first + (last - first) // 2 * 2
        for k in range(first, twos, 2):
            for c in range(width):
                g, h = gy[k, c], gy[k + 1, c]
                p = x[k, c] - affine[0, c]
                q = x[k + 1, c] - affine[0, c]
                g = zero if p * affine[1, c] + affine[2, c] <= lowest else g
                h = zero if q * affine[1, c] + affine[2, c] <= lowest else h
                out[block, 0, c] += np.float64(g) + np.float64(h)
                out[block, 1, c] += np.float64(g * p) + np.float64(h * q)
        for k in range(twos, last):
            for c in range(width):
                g = gy[k, c]
                p = x[k, c] - affine[0, c]
                g = zero if p * affine[1, c] + affine[2, c] <= lowest else g
                out[block, 0, c] += g
                out[block, 1, c] += g * p


@kernel
def _block_sums(x: Array, out: Array) -> None:
    """Sums of lines: (lines, W) -> (blocks, 1, W)."""
    lines, width = len(x), out.shape[2]
    blocks = out.shape[0]
    for block in prange(blocks):
        out[block] = 0
        first, last = _bounds(np.int64(block), lines, blocks)
        fours = first + (last - first) // 4 * 4
        for k in range(first, fours, 4):
            for c in range(width):
                p = np.float64(x[k, c]) + np.float64(x[k + 1, c])
                out[block, 0, c] += p + (np.float64(x[k + 2, c]) + np.float64(x[k + 3, c]))
        for k in range(fours, last):
            for c in range(width):
                out[block, 0, c] += x[k, c]


@kernel
def _relu_gradient_sums(y: Array, gy: Array, out_gradient: Array, out: Array) -> None:
    """Gy where y > 0, else 0, and its sums: 2 x (lines, W) -> (lines, W), (blocks, 1, W)."""
    lines, width = len(y), out.shape[2]
    blocks = out.shape[0]
    zero = y.dtype.type(0)
    for block in prange(blocks):
        out[block] = 0
        first, last = _bounds(np.int64(block), lines, blocks)
        twos = first + (last - first) // 2 * 2
        for k in range(first, twos, 2):
            for c in range(width):
                g, h = gy[k, c], gy[k + 1, c]
                g = g if y[k, c] > 0 else zero
                h = h if y[k + 1, c] > 0 else zero
                out_gradient[k, c], out_gradient[k + 1, c] = g, h
                out[block, 0, c] += np.float64(g) + np.float64(h)
        for k in range(twos, last):
            for c in range(width):
                g = gy[k, c]
                g = g if y[k, c] > 0 else zero
                out_gradient[k, c] = g
                out[block, 0, c] += g


@kernel
def _normalise(x: Array, affine: Array, lowest: float, out: Array) -> None:
    """(x - mean) scale + shift, but at least the lowest."""
    lines, width = out.shape
    for k in prange(lines):
        for c in range(width):
            y = (x[k, c] - affine[0, c]) * affine[1, c] + affine[2, c]
            out[k, c] = lowest if y < lowest else y  # so that a nan stays a nan


@kernel
def _input_gradient(x: Array, gy: Array, affine: Array, lowest: float, out: Array) -> None:
    """Scale (gy - mean_gy - (x - mean) slope), gy being 0 where y is not above the lowest."""
    lines, width = out.shape
    zero = x.dtype.type(0)
    for k in prange(lines):
        for c in range(width):
            g = gy[k, c]
            p = x[k, c] - affine[0, c]
            g = zero if p * affine[1, c] + affine[2, c] <= lowest else g
            out[k, c] = affine[1, c] * (g - affine[3, c] - p * affine[4, c])


@kernel
def _scaled_gradient(x: Array, gy: Array, affine: Array, lowest: float, out: Array) -> None:
    """Factor gy, gy being 0 where y is not above the lowest."""
    lines, width = out.shape
    zero = x.dtype.type(0)
    for k in prange(lines):
        for c in range(width):
            g = gy[k, c]
            y = (x[k, c] - affine[0, c]) * affine[1, c] + affine[2, c]
            out[k, c] = affine[3, c] * (zero if y <= lowest else g)


def _lines(*arrays: Array) -> Iterator[tuple[int, list[Array]]]:
    """Arrays of one shape as lines, and how many rows make one: most of them, then the rest.

    Where an array is some channels of a wider one, a row is a line, and what lies behind it in the
    wider array is part of the line, too: kernels go as far as their tables and results reach.
    """
    channels = arrays[0].shape[-1]
    rows = arrays[0].size // channels
    if not all(array.flags.c_contiguous for array in arrays):
        if rows:
            yield 1, [_pitched(array, rows) for array in arrays]
        return
    together = max(1, min(LINE // channels, rows))
    whole = rows // together * together
    for part, count in ((slice(whole), together), (slice(whole, None), 1)):
        views = [
            array.reshape(-1, channels)[part].reshape(-1, count * channels) for array in arrays
        ]
        if len(views[0]):
            yield count, views


def _pitched(array: Array, rows: int) -> Array:
    """All rows, as far apart as they are: (..., C) -> (rows, C or more)."""
    if array.flags.c_contiguous:
        return array.reshape(rows, -1)
    steps = array.strides
    evenly = all(
        step == following * length
        for step, following, length in zip(steps[:-2], steps[1:-1], array.shape[1:-1], strict=True)
    )
    if not evenly or steps[-1] != array.itemsize or len(steps) < 2:
        return np.ascontiguousarray(array).reshape(rows, -1)
    pitch = steps[-2]
    return np.lib.stride_tricks.as_strided(
        array, (rows, pitch // array.itemsize), (pitch, steps[-1])
    )


def _blocks(lines: int, width: int, sorts: int = 2) -> Array:
    """Room for the sums of each block, of so many sorts."""
    count = max(1, min(lines // SHORTEST, BLOCKS))
    return np.empty((count, sorts, width), np.float64)


def _total(blocks: Array, channels: int) -> Array:
    """Sums of blocks, and of the rows of a line: (blocks, sorts, W) -> (sorts, C)."""
    sums: Array = blocks.sum(axis=0)
    total: Array = sums.reshape(len(sums), -1, channels).sum(axis=1)
    return total


def channel_sums(x: Array) -> Array:
    """Sum of each channel, taken in float64: (..., C) -> (C,), in the dtype of x.

    The gradient of a bias.
    """
    sums = np.zeros((1, x.shape[-1]))
    for together, (lines,) in _lines(x):
        out = _blocks(len(lines), together * x.shape[-1], 1)
        _block_sums(lines, out)
        sums += _total(out, x.shape[-1])
    result: Array = sums[0].astype(x.dtype)
    return result


def relu_gradient_sums(y: Array, gy: Array) -> tuple[Array, Array]:
    """Gy where y > 0, else 0, and the sum of each channel of it: 2 x (..., C) -> (..., C), (C,)."""
    g = buffers.empty(y.shape, y.dtype)
    sums = np.zeros((1, y.shape[-1]))
    for together, (lines, of_gy, of_g) in _lines(y, gy, g):
        out = _blocks(len(lines), together * y.shape[-1], 1)
        _relu_gradient_sums(lines, of_gy, of_g, out)
        sums += _total(out, y.shape[-1])
    return g, sums[0].astype(y.dtype)


def statistics(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel: (..., C) -> 2 x (C,), in the dtype of x.

    One pass: with d = x - m, the variance is the mean of d**2 minus the square of the mean of d.
    That difference is harmless if m is a number like those of x (Chan, Golub and LeVeque 1983,
    "Algorithms for computing the sample variance"), and m is the first of them: if it is k
    deviations off, there are at least k**2 rows, and all is lost of 1e-16 k**2 only.
    """
    channels = x.shape[-1]
    count = x.size // channels
    middle = x[(0,) * (x.ndim - 1)].astype(np.float64)
    sums = np.zeros((2, channels))
    for together, (lines,) in _lines(x):
        out = _blocks(len(lines), together * x.shape[-1])
        _block_moments(lines, np.tile(middle, together), out)
        sums += _total(out, channels)
    mean, square = sums / count
    variance = np.maximum(square - mean**2, 0)
    return (middle + mean).astype(x.dtype), variance.astype(x.dtype)


def inverse_deviation(variance: Array, eps: float) -> Array:
    """1 / sqrt(variance + eps), worked out in float64: (C,) -> (C,)."""
    inverse = 1.0 / np.sqrt(variance.astype(np.float64) + eps)
    result: Array = inverse.astype(variance.dtype)
    return result


def forward(x: Array, affine: Affine) -> Array:
    """(x - mean) scale + shift, then the ReLU if there is one: (..., C) -> (..., C)."""
    y = buffers.empty(x.shape, x.dtype)
    table = np.stack(affine[:3])
    for together, (lines, out) in _lines(x, y):
        _normalise(lines, np.tile(table, together), affine.lowest(), out)
    return y


def sums_backward(x: Array, gy: Array, affine: Affine) -> Array:
    """Sums over all rows of gy, and of gy (x - mean): (..., C) -> (2, C), float64.

    With a ReLU, only of the gy that it lets through.
    """
    sums = np.zeros((2, x.shape[-1]))
    table = np.stack(affine[:3])
    for together, (lines, of_gy) in _lines(x, gy):
        out = _blocks(len(lines), together * x.shape[-1])
        _block_products(lines, of_gy, np.tile(table, together), affine.lowest(), out)
        sums += _total(out, x.shape[-1])
    return sums


def input_gradient(x: Array, gy: Array, affine: Affine, mean_gy: Array, slope: Array) -> Array:
    """Scale (gy - mean_gy - (x - mean) slope): (..., C) -> (..., C).

    For batch statistics: mean_gy is the mean of gy, and slope the mean of gy (x - mean) over the
    variance.  With a ReLU, gy is 0 where it lets nothing through.
    """
    gx = buffers.empty(x.shape, x.dtype)
    table = np.stack([*affine[:3], mean_gy, slope])
    for together, (lines, of_gy, out) in _lines(x, gy, gx):
        _input_gradient(lines, of_gy, np.tile(table, together), affine.lowest(), out)
    return gx


def scaled_gradient(x: Array, gy: Array, affine: Affine, factor: Array) -> Array:
    """Factor gy: (..., C), (C,) -> (..., C), 0 where the ReLU lets nothing through.

    For statistics that are constants: the factor is the scale of `forward`.
    """
    gx = buffers.empty(x.shape, x.dtype)
    table = np.stack([*affine[:3], factor])
    for together, (lines, of_gy, out) in _lines(x, gy, gx):
        _scaled_gradient(lines, of_gy, np.tile(table, together), affine.lowest(), out)
    return gx
