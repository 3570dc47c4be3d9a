"""Sums over rows, channel by channel: always the same, on any number of threads.

They are taken in float64, in blocks whose bounds depend on the shape alone, and the blocks are
added in one order.  Several rows are one line for the kernels, so that their inner loops are long
where there are few channels.
"""

import functools
import itertools

import numpy as np
from numba import prange

from minincep_kernels import Array
from minincep_kernels.jit import inlined, kernel

LINE = 512  # numbers in a line, at most, if there are no more channels
BLOCKS = 64
SHORTEST = 16  # lines in a block, at least, if there are two blocks or more


@functools.lru_cache(maxsize=4096)
def blocks_of(rows: int, channels: int) -> Array:
    """Where each block begins and ends, and its line, in numbers: -> (blocks, 3).

    Lines of several rows first, then the rows that are left over.
    """
    together = max(1, min(LINE // channels, rows))
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
def _channel_sums(x: Array, blocks: Array, out: Array) -> None:
    """(M C,) -> (C,)."""
    sums = np.empty((len(blocks), 1, blocks[0, 2]))
    for block in prange(len(blocks)):
        start, stop, width = blocks[block, 0], blocks[block, 1], blocks[block, 2]
        lines = x[start:stop].reshape(-1, width)
        sums[block] = 0
        place = sums[block, 0]
        fours = len(lines) // 4 * 4
        for k in range(0, fours, 4):  # so that each sum is fetched once for four numbers
            for c in range(width):
                p = np.float64(lines[k, c]) + np.float64(lines[k + 1, c])
                place[c] += p + (np.float64(lines[k + 2, c]) + np.float64(lines[k + 3, c]))
        for k in range(fours, len(lines)):
            for c in range(width):
                place[c] += lines[k, c]
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
        _channel_sums(x.reshape(-1), blocks_of(x.size // channels, channels), sums)
    return sums
