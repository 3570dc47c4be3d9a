"""Sums over rows, channel by channel: always the same, on any number of threads.

They are taken in float64, in blocks whose bounds depend on the shape alone, and the blocks are
added in one order.  Several rows are one line for the kernels, so that their inner loops are long
where there are few channels.

An array may be some channels of a wider one.  Then its rows do not follow each other, but lie a
*pitch* apart, and each is a line of its own; a pitch of 0 stands for rows that do.
"""

import functools
import itertools

import numpy as np
from numba import prange
from numpy.lib.stride_tricks import as_strided

from minincep_kernels import Array
from minincep_kernels.jit import inlined, kernel

LINE = 512  # numbers in a line, at most, if there are no more channels
BLOCKS = 64
SHORTEST = 16  # lines in a block, at least, if there are two blocks or more


def flat(x: Array) -> tuple[Array, int]:
    """All numbers from the first to the last, (M, C) -> (M C,) or more, and the pitch of rows."""
    rows, channels = x.shape
    if x.flags.c_contiguous or not x.size:
        return x.reshape(-1), 0
    pitch = x.strides[0] // x.itemsize
    if x.strides[1] != x.itemsize or x.strides[0] % x.itemsize or pitch < channels:
        return x.reshape(-1), 0  # a copy
    return as_strided(x, ((rows - 1) * pitch + channels,), (x.itemsize,)), pitch


@functools.lru_cache(maxsize=4096)
def blocks_of(rows: int, channels: int, pitch: int = 0) -> Array:
    """Where each block begins and ends, and its line, in numbers: -> (blocks, 3).

    Lines of several rows first, then the rows that are left over.
    """
    together = 1 if pitch else max(1, min(LINE // channels, rows))
    whole = rows // together * together
    found = []
    for start, lines, width in [
        (0, whole // together, together * channels),
        (whole * channels, rows - whole, channels),
    ]:
        blocks = min(lines, max(1, min(lines // SHORTEST, BLOCKS)))
        bounds = [start + block * lines // blocks * width for block in range(1, blocks)]
        ends = [*bounds, start + lines * width] if lines else []
        found += [(first, last, width) for first, last in itertools.pairwise([start, *ends])]
    table = np.array(found, np.int64).reshape(-1, 3)
    table.flags.writeable = False
    return table


@inlined
def line_of(x: Array, number: int | np.int64, width: int, pitch: int) -> Array:
    """A line of an array, counted from 0."""
    start = number * (pitch if pitch else width)
    return x[start : start + width]


@inlined
def spread(numbers: Array, line: Array) -> None:
    """Repeat the numbers of the channels for each row of a line: (C,) -> (W,)."""
    channels = len(numbers)
    for first in range(0, len(line), channels):
        for c in range(channels):
            line[first + c] = numbers[c]


@inlined
def fold(sums: Array, blocks: Array, total: Array) -> None:
    """Sums of blocks, and of the rows of a line, to those of channels: (blocks, S, W) -> (S, C)."""
    sorts, channels = total.shape
    total[:] = 0
    block = 0
    while block < len(blocks):
        first, width = block, blocks[block, 2]
        block += 1
        while block < len(blocks) and blocks[block, 2] == width:
            for s in range(sorts):
                for i in range(width):
                    sums[first, s, i] += sums[block, s, i]
            block += 1
        for s in range(sorts):
            for row in range(channels, width, channels):
                for c in range(channels):
                    sums[first, s, c] += sums[first, s, row + c]
            for c in range(channels):
                total[s, c] += sums[first, s, c]


@kernel
def _channel_sums(x: Array, pitch: int, blocks: Array, out: Array) -> None:
    """(M C,) -> (C,)."""
    sums = np.empty((len(blocks), 1, blocks[0, 2]))
    for block in prange(len(blocks)):
        start, stop, width = blocks[block, 0], blocks[block, 1], blocks[block, 2]
        sums[block] = 0
        place = sums[block, 0]
        k, last = start // width, stop // width
        while k + 4 <= last:  # so that each sum is fetched once for four numbers
            p, q = line_of(x, k, width, pitch), line_of(x, k + 1, width, pitch)
            r, s = line_of(x, k + 2, width, pitch), line_of(x, k + 3, width, pitch)
            for c in range(width):
                half = np.float64(p[c]) + np.float64(q[c])
                place[c] += half + (np.float64(r[c]) + np.float64(s[c]))
            k += 4
        while k < last:
            p = line_of(x, k, width, pitch)
            for c in range(width):
                place[c] += p[c]
            k += 1
    total = np.empty((1, len(out)))
    fold(sums, blocks, total)
    for c in range(len(out)):
        out[c] = total[0, c]


def channel_sums(x: Array, dtype: type | None = None) -> Array:
    """Sum of each channel, taken in float64: (..., C) -> (C,), in the dtype of x or another.

    The gradient of a bias.
    """
    channels = x.shape[-1]
    sums = np.zeros(channels, dtype or x.dtype)
    if x.size:
        numbers, pitch = flat(x.reshape(-1, channels))
        _channel_sums(numbers, pitch, blocks_of(x.size // channels, channels, pitch), sums)
    return sums
