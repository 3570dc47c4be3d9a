"""(x - mean) scale + shift, then perhaps the ReLU, a ladder: from four passes to one.

Each rung is (x, affine, shape) -> y: (M, C), (3, C) -> (M, C), in the dtype of x, where the rows of
affine are mean, scale and shift.
"""

import numpy as np
from numba import prange

from minincep_kernels import Array, buffers
from minincep_kernels.jit import kernel
from minincep_kernels.norm.sums import LINE, flat, line_of, spread
from minincep_kernels.registry import prefer, variant
from minincep_kernels.shapes import NormalizeShape

BLOCK = 1 << 14  # numbers that stay in a core's own cache from one operation to the next


def channel_table(
    gamma: Array | None, beta: Array, mean: Array, variance: Array, eps: float
) -> Array:
    """What is done to each channel, (5, C): mean, scale, shift, scale, 1 / sqrt(variance + eps).

    The first three are the `affine` of the ladder, the others what `backward` takes beside them.
    The last is worked out in float64.
    """
    table = np.empty((5, len(beta)), beta.dtype)
    table[0] = mean
    table[4] = 1.0 / np.sqrt(np.add(variance, eps, dtype=np.float64))
    table[1] = table[4] if gamma is None else gamma * table[4]
    table[2] = beta
    table[3] = table[1]
    return table


@variant("normalize", name="naive")
def naive(x: Array, affine: Array, shape: NormalizeShape) -> Array:
    """The formula, an array operation after the other: subtract, multiply, add, ReLU.

    Passes: each of the four reads an array and writes one.  For 4 flops that is 32 bytes a number,
    from and to memory where x is larger than the caches: bound by bandwidth, at a quarter of its
    roof, on one thread, and with pages to be got from the system for four arrays.

    Source: Ioffe and Szegedy 2015, "Batch normalization", algorithm 2, as NumPy writes it.
    """
    mean, scale, shift = affine
    y: Array = (x - mean) * scale + shift
    return np.maximum(y, 0) if shape.relu else y


@variant("normalize", name="blocked", below="naive")
def blocked(x: Array, affine: Array, shape: NormalizeShape) -> Array:
    """The same four operations on some rows at a time, few enough to stay in the cache.

    What changes: the order only.  Four passes over a block are one over memory, 8 bytes a number,
    the least there can be; the other three are served by the core's own cache.  Bound by the
    bandwidth of that, by the time that NumPy takes for each row, and by one thread.

    Source: blocking for the cache, which Lam, Rothberg and Wolf 1991, "The cache performance and
    optimizations of blocked algorithms", look into.
    """
    mean, scale, shift = affine
    y = np.empty_like(x)
    step = max(1, BLOCK // shape.channels)
    for first in range(0, shape.rows, step):
        part = y[first : first + step]
        np.subtract(x[first : first + step], mean, out=part)
        part *= scale
        part += shift
        if shape.relu:
            np.maximum(part, 0, out=part)
    return y


@variant("normalize", name="fused", below="blocked")
def fused(x: Array, affine: Array, shape: NormalizeShape) -> Array:
    """All four operations on a number while it is in a register, on all threads.

    What changes: one compiled loop instead of four, so the caches too are passed through once.  8
    bytes a number for 4 flops: bound by bandwidth, at its roof.  (Each line of y is fetched before
    it is overwritten, which the bytes do not count, on this rung or any.)

    Source: Williams, Waterman and Patterson 2009, "Roofline": what to do where operations for each
    byte are few.
    """
    y = buffers.empty(x.shape, x.dtype)
    numbers, pitch = flat(x)
    _normalize(numbers, pitch, affine, shape.relu, y.reshape(-1))
    return y


@kernel
def _normalize(x: Array, pitch: int, affine: Array, relu: bool, out: Array) -> None:
    """(M C,), (3, C) -> (M C,), in lines, the last of which may be short."""
    channels = affine.shape[1]
    width = channels if pitch else max(1, LINE // channels) * channels
    table = np.empty((3, width), x.dtype)
    for row in range(3):
        spread(affine[row], table[row])
    lowest = x.dtype.type(0 if relu else np.nan)  # nothing is below nan
    for k in prange((len(out) + width - 1) // width):
        place = line_of(out, np.int64(k), width, 0)
        line = line_of(x, np.int64(k), width, pitch)
        for c in range(len(place)):
            y = (line[c] - table[0, c]) * table[1, c] + table[2, c]
            place[c] = lowest if y < lowest else y  # so that a nan stays a nan


prefer("normalize", lambda shape, part: "fused")
