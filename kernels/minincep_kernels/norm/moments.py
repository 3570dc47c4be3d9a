"""Mean and biased variance of each channel, a ladder: how often is x read?

Each rung is (x, shape) -> mean, variance: (M, C) -> 2 x (C,), in the dtype of x, for M of at least
1.  All of them add in float64, so that the number of rows never shows in the result.
"""

import numpy as np
from numba import prange

from minincep_kernels import Array
from minincep_kernels.jit import kernel
from minincep_kernels.norm.sums import blocks_of, channel_sums, flat, fold, line_of, spread
from minincep_kernels.registry import prefer, variant
from minincep_kernels.shapes import MomentsShape


@variant("moments", name="naive")
def naive(x: Array, shape: MomentsShape) -> tuple[Array, Array]:
    """The definition, an array operation after the other.

    Passes: the mean reads x; the deviations read it again and write an array of float64, the
    squares read and write that, their mean reads it.  For 4 flops that is 40 bytes a number, all
    of them from and to memory where x is larger than the caches: bound by bandwidth, at a tenth of
    what the bandwidth allows, and on one thread.

    Source: Ioffe and Szegedy 2015, "Batch normalization", algorithm 1, as NumPy writes it.
    """
    mean = x.mean(axis=0, dtype=np.float64)
    deviations = x - mean
    variance = np.square(deviations, out=deviations).mean(axis=0)
    return mean.astype(x.dtype), variance.astype(x.dtype)


@variant("moments", name="two_pass", below="naive")
def two_pass(x: Array, shape: MomentsShape) -> tuple[Array, Array]:
    """Deviations live in registers: x is read twice, and nothing is written but the result.

    What changes: compiled loops, on all threads, instead of operations that leave arrays.  The
    second pass also adds up the deviations from the mean, which would be 0 but for rounding, and
    corrects by them.  8 bytes a number for 5 flops: bound by bandwidth, at half of its roof.

    Source: Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance", the
    corrected two-pass algorithm.
    """
    return _around(channel_sums(x, np.float64) / shape.rows, x, shape)


@variant("moments", name="one_pass", below="two_pass")
def one_pass(x: Array, shape: MomentsShape) -> tuple[Array, Array]:
    """Deviations from a number that need not be the mean, only near: x is read once.

    What changes: the second pass of the rung below alone, around the first row.  With d = x - m,
    the variance is the mean of d**2 minus the square of the mean of d.  That difference is
    harmless if m is a number like those of x (with m = 0 it has ruined many a variance), and the
    first row is: if it is k deviations off, there are at least k**2 rows, and all is lost of 1e-16
    k**2 only.  4 bytes a number for 4 flops, the least there can be: bound by bandwidth, at its
    roof.

    Source: Chan, Golub and LeVeque 1983, the shifted one-pass algorithm.
    """
    return _around(x[0].astype(np.float64), x, shape)


def _around(middle: Array, x: Array, shape: MomentsShape) -> tuple[Array, Array]:
    """Mean and variance, by sums of deviations from any numbers that are near: one pass."""
    mean, variance = np.empty(shape.channels, x.dtype), np.empty(shape.channels, x.dtype)
    numbers, pitch = flat(x)
    _moments(numbers, pitch, middle, blocks_of(*shape.input, pitch), mean, variance)
    return mean, variance


@kernel
def _moments(
    x: Array, pitch: int, middle: Array, blocks: Array, out_mean: Array, out_variance: Array
) -> None:
    """(M C,), (C,) -> 2 x (C,)."""
    channels = len(middle)
    around = np.empty(blocks[0, 2])
    spread(middle, around)
    sums = np.empty((len(blocks), 2, blocks[0, 2]))
    for block in prange(len(blocks)):
        start, stop, width = blocks[block, 0], blocks[block, 1], blocks[block, 2]
        sums[block] = 0
        first, second = sums[block, 0], sums[block, 1]
        k, last = start // width, stop // width
        while k + 4 <= last:  # so that each sum is fetched once for four numbers
            one, two = line_of(x, k, width, pitch), line_of(x, k + 1, width, pitch)
            three, four = line_of(x, k + 2, width, pitch), line_of(x, k + 3, width, pitch)
            for c in range(width):
                p = np.float64(one[c]) - around[c]
                q = np.float64(two[c]) - around[c]
                r = np.float64(three[c]) - around[c]
                s = np.float64(four[c]) - around[c]
                first[c] += (p + q) + (r + s)
                second[c] += (p * p + q * q) + (r * r + s * s)
            k += 4
        while k < last:
            one = line_of(x, k, width, pitch)
            for c in range(width):
                p = np.float64(one[c]) - around[c]
                first[c] += p
                second[c] += p * p
            k += 1
    total = np.empty((2, channels))
    fold(sums, blocks, total)
    rows = 0
    for block in range(len(blocks)):
        rows += (blocks[block, 1] - blocks[block, 0]) // channels
    for c in range(channels):
        mean = total[0, c] / rows
        variance = total[1, c] / rows - mean * mean
        out_mean[c] = middle[c] + mean
        out_variance[c] = 0 if variance < 0 else variance  # so that a nan stays a nan


prefer("moments", lambda shape, part: "one_pass")
