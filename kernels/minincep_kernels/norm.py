"""Batch normalisation: y = gamma (x - mean) / sqrt(variance + eps) + beta, channel by channel.

Ioffe and Szegedy 2015, "Batch normalization", algorithm 1.  The last axis is the channel, all
others together are the rows: the kernels see (M, C).

Sums over rows are taken in float64, in `BLOCKS` blocks whose bounds depend on M alone, so that a
result never depends on the number of threads.
"""

import numpy as np
from numba import prange
from numba.extending import register_jitable

from minincep_kernels import Array
from minincep_kernels.jit import kernel

BLOCKS = 64


@register_jitable  # type: ignore[untyped-decorator]  # Numba has no types
def _bounds(block: int, rows: int, blocks: int) -> tuple[int, int]:
    return block * rows // blocks, (block + 1) * rows // blocks


@kernel
def _block_sums(x: Array, out: Array) -> None:
    """Sums of rows, block by block: (M, C) -> (BLOCKS, C)."""
    rows, channels = x.shape
    blocks = out.shape[0]
    for block in prange(blocks):
        out[block, :] = 0
        first, last = _bounds(np.int64(block), rows, blocks)
        for m in range(first, last):
            for c in range(channels):
                out[block, c] += x[m, c]


@kernel
def _block_square_sums(x: Array, mean: Array, out: Array) -> None:
    """Sums of squared distances from the mean, block by block: (M, C) -> (BLOCKS, C)."""
    rows, channels = x.shape
    blocks = out.shape[0]
    for block in prange(blocks):
        out[block, :] = 0
        first, last = _bounds(np.int64(block), rows, blocks)
        for m in range(first, last):
            for c in range(channels):
                out[block, c] += (x[m, c] - mean[c]) ** 2


@kernel
def _block_products(x: Array, gy: Array, mean: Array, out: Array, out_products: Array) -> None:
    """Sums of gy and of gy (x - mean), block by block: (M, C) -> 2 x (BLOCKS, C)."""
    rows, channels = x.shape
    blocks = out.shape[0]
    for block in prange(blocks):
        out[block, :] = 0
        out_products[block, :] = 0
        first, last = _bounds(np.int64(block), rows, blocks)
        for m in range(first, last):
            for c in range(channels):
                out[block, c] += gy[m, c]
                out_products[block, c] += gy[m, c] * (x[m, c] - mean[c])


@kernel
def _normalise(x: Array, mean: Array, scale: Array, shift: Array, out: Array) -> None:
    """(x - mean) scale + shift."""
    rows, channels = x.shape
    for m in prange(rows):
        for c in range(channels):
            out[m, c] = (x[m, c] - mean[c]) * scale[c] + shift[c]


@kernel
def _input_gradient(
    x: Array, gy: Array, mean: Array, scale: Array, mean_gy: Array, slope: Array, out: Array
) -> None:
    """Scale (gy - mean_gy - (x - mean) slope)."""
    rows, channels = x.shape
    for m in prange(rows):
        for c in range(channels):
            out[m, c] = scale[c] * (gy[m, c] - mean_gy[c] - (x[m, c] - mean[c]) * slope[c])


def _rows(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


def _blocks(x: Array) -> Array:
    return np.empty((BLOCKS, x.shape[-1]), np.float64)


def statistics(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel: (..., C) -> 2 x (C,), in the dtype of x."""
    rows, sums = _rows(x), _blocks(x)
    _block_sums(rows, sums)
    mean = sums.sum(axis=0) / len(rows)
    _block_square_sums(rows, mean, sums)
    variance = sums.sum(axis=0) / len(rows)
    return mean.astype(x.dtype), variance.astype(x.dtype)


def inverse_deviation(variance: Array, eps: float) -> Array:
    """1 / sqrt(variance + eps), worked out in float64: (C,) -> (C,)."""
    inverse = 1.0 / np.sqrt(variance.astype(np.float64) + eps)
    result: Array = inverse.astype(variance.dtype)
    return result


def forward(x: Array, mean: Array, scale: Array, shift: Array) -> Array:
    """(x - mean) scale + shift: (..., C) -> (..., C), with scale = gamma / sqrt(variance + eps)."""
    y = np.empty(x.shape, x.dtype)
    _normalise(_rows(x), mean, scale, shift, _rows(y))
    return y


def sums_backward(x: Array, gy: Array, mean: Array) -> tuple[Array, Array]:
    """Sums over all rows of gy, and of gy (x - mean): (..., C) -> 2 x (C,), float64."""
    sums, products = _blocks(x), _blocks(x)
    _block_products(_rows(x), _rows(gy), mean, sums, products)
    return sums.sum(axis=0), products.sum(axis=0)


def input_gradient(
    x: Array, gy: Array, mean: Array, scale: Array, mean_gy: Array, slope: Array
) -> Array:
    """Scale (gy - mean_gy - (x - mean) slope): (..., C) -> (..., C).

    With batch statistics, mean_gy is the mean of gy and slope the mean of gy (x - mean) over the
    variance; with statistics that do not depend on x, both are zero.
    """
    gx = np.empty(x.shape, x.dtype)
    _input_gradient(_rows(x), _rows(gy), mean, scale, mean_gy, slope, _rows(gx))
    return gx
