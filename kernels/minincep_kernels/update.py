"""One step of training for all weights of a network at once: each number is read and written once.

A network has hundreds of arrays, most of them tiny, and calling a kernel costs more than updating
a tiny array.  So one call takes all arrays, as a table of addresses, and the threads share out
*pieces*: a large array is cut up, a small one is a piece by itself.  What an optimiser remembers
of the weights (momentum and so on) lies in one flat array, `places` says where.

Every number is worked out by itself, so no result depends on pieces or threads.  The arithmetic
has the type of the weights.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import carray, prange, types
from numba.extending import intrinsic

from minincep_kernels import Array
from minincep_kernels.jit import inlined, kernel

PIECE = 1 << 14  # numbers: little enough to share out evenly, enough to make up for the loop
SUMS = 256  # partial sums of a piece, side by side: one would wait for each addition to end
ALIGN = 16  # numbers: an array's place in a flat one begins a cache line


@functools.lru_cache(maxsize=16)
def places(sizes: tuple[int, ...]) -> tuple[Array, int]:
    """Where arrays of these sizes begin in a flat one, (arrays,), and the length of the whole."""
    lengths = [-(-size // ALIGN) * ALIGN for size in sizes]
    ends = np.cumsum([0, *lengths], dtype=np.int64)
    return _constant(ends[:-1]), int(ends[-1])


@functools.lru_cache(maxsize=16)
def pieces(sizes: tuple[int, ...]) -> Array:
    """Arrays of these sizes cut up: (pieces, 4), the array, first number, count, place."""
    starts, _ = places(sizes)
    rows = [
        (index, first, min(PIECE, size - first), starts[index] + first)
        for index, size in enumerate(sizes)
        for first in range(0, size, PIECE)
    ]
    return _constant(np.array(rows, np.int64).reshape(-1, 4))


def _constant(array: Array) -> Array:
    array.flags.writeable = False
    return array


def addresses(*columns: Sequence[Array | None]) -> Array:
    """Addresses of arrays, 0 for None: (arrays, columns).  They hold while the arrays live.

    Raises
    ------
    ValueError
        If the numbers of an array do not lie together.
    """
    table = np.zeros((len(columns[0]), len(columns)), np.int64)
    for column, arrays in enumerate(columns):
        for row, array in enumerate(arrays):
            if array is not None:
                if not (array.flags.c_contiguous and array.flags.aligned):
                    raise ValueError("only C-contiguous, aligned arrays are updated by address")
                table[row, column] = array.__array_interface__["data"][0]
    return table


@intrinsic  # type: ignore[untyped-decorator]  # Numba has no types
def _pointer(typing: Any, address: Any, like: Any) -> Any:
    """An address as a pointer to numbers of the type that the array `like` holds."""
    kind = types.CPointer(like.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(kind))

    return kind(types.int64, like), generate


@inlined
def _part(address: int, piece: Array, like: Array) -> Array:
    """The numbers of a piece of the array at an address."""
    part: Array = carray(_pointer(address + piece[1] * like.itemsize, like), piece[2])
    return part


# In the kernels, `table` has the addresses of the weights and of their gradients, `numbers` the
# rate and the weight decay of each array.


@kernel
def _descend(pieces: Array, table: Array, numbers: Array) -> None:
    for index in prange(pieces.shape[0]):
        piece = pieces[np.int64(index)]
        array = piece[0]
        if table[array, 1] != 0:
            w = _part(table[array, 0], piece, numbers)
            g = _part(table[array, 1], piece, numbers)
            rate, decay = numbers[array, 0], numbers[array, 1]
            for i in range(w.size):
                w[i] -= rate * (g[i] + decay * w[i])


@kernel
def _sgd(pieces: Array, table: Array, numbers: Array, settings: Array, out_momentum: Array) -> None:
    momentum, ahead, along = settings[0], settings[1], settings[2]
    for index in prange(pieces.shape[0]):
        piece = pieces[np.int64(index)]
        array = piece[0]
        if table[array, 1] != 0:
            w = _part(table[array, 0], piece, numbers)
            g = _part(table[array, 1], piece, numbers)
            m = out_momentum[piece[3] : piece[3] + piece[2]]
            rate, decay = numbers[array, 0], numbers[array, 1]
            for i in range(w.size):
                gradient = g[i] + decay * w[i]
                m[i] = momentum * m[i] + gradient
                w[i] -= rate * (ahead * gradient + along * m[i])


@kernel
def _rmsprop(
    pieces: Array,
    table: Array,
    numbers: Array,
    settings: Array,
    out_square: Array,
    out_momentum: Array,
) -> None:
    share, momentum, eps = settings[0], settings[1], settings[2]
    for index in prange(pieces.shape[0]):
        piece = pieces[np.int64(index)]
        array = piece[0]
        if table[array, 1] != 0:
            w = _part(table[array, 0], piece, numbers)
            g = _part(table[array, 1], piece, numbers)
            s = out_square[piece[3] : piece[3] + piece[2]]
            m = out_momentum[piece[3] : piece[3] + piece[2]]
            rate, decay = numbers[array, 0], numbers[array, 1]
            for i in range(w.size):
                gradient = g[i] + decay * w[i]
                s[i] += share * (gradient * gradient - s[i])
                m[i] = momentum * m[i] + rate * gradient / np.sqrt(s[i] + eps)
                w[i] -= m[i]


@kernel
def _adam(
    pieces: Array,
    table: Array,
    numbers: Array,
    settings: Array,
    out_mean: Array,
    out_square: Array,
) -> None:
    mean_share, square_share, eps = settings[0], settings[1], settings[2]
    for index in prange(pieces.shape[0]):
        piece = pieces[np.int64(index)]
        array = piece[0]
        if table[array, 1] != 0:
            w = _part(table[array, 0], piece, numbers)
            g = _part(table[array, 1], piece, numbers)
            m = out_mean[piece[3] : piece[3] + piece[2]]
            s = out_square[piece[3] : piece[3] + piece[2]]
            rate, decay, shrink = numbers[array, 0], numbers[array, 1], numbers[array, 2]
            deviation = numbers[array, 3]
            for i in range(w.size):
                gradient = g[i] + decay * w[i]
                m[i] += mean_share * (gradient - m[i])
                s[i] += square_share * (gradient * gradient - s[i])
                w[i] = shrink * w[i] - rate * m[i] / (np.sqrt(s[i]) * deviation + eps)


@kernel
def _average(pieces: Array, table: Array, share: Array, out: Array) -> None:
    for index in prange(pieces.shape[0]):
        piece = pieces[np.int64(index)]
        x = _part(table[piece[0], 0], piece, out)
        y = out[piece[3] : piece[3] + piece[2]]
        for i in range(x.size):
            y[i] += share[0] * (x[i] - y[i])


@kernel
def _squares(pieces: Array, table: Array, like: Array, out: Array) -> None:
    for index in prange(pieces.shape[0]):
        number = np.int64(index)
        piece = pieces[number]
        x = _part(table[piece[0], 0], piece, like)
        rows = x.size // SUMS
        grid = x[: rows * SUMS].reshape(rows, SUMS)
        sums = np.zeros(SUMS)
        for row in range(rows):
            for column in range(SUMS):
                value = np.float64(grid[row, column])
                sums[column] += value * value
        total = sums.sum()
        for i in range(rows * SUMS, x.size):
            value = np.float64(x[i])
            total += value * value
        out[number] = total


@kernel
def _multiply(pieces: Array, table: Array, factor: Array) -> None:
    for index in prange(pieces.shape[0]):
        piece = pieces[np.int64(index)]
        x = _part(table[piece[0], 0], piece, factor)
        for i in range(x.size):
            x[i] *= factor[0]


@kernel
def _clamp(pieces: Array, table: Array, limit: Array) -> None:
    for index in prange(pieces.shape[0]):
        piece = pieces[np.int64(index)]
        x = _part(table[piece[0], 0], piece, limit)
        for i in range(x.size):
            if x[i] > limit[0]:
                x[i] = limit[0]
            elif x[i] < -limit[0]:
                x[i] = -limit[0]


def descend(pieces: Array, table: Array, numbers: Array) -> None:
    """Plain gradient descent: w -= rate (g + decay w)."""
    _descend(pieces, table, numbers)


def sgd(
    pieces: Array,
    table: Array,
    numbers: Array,
    momentum: Array,
    *,
    keep: float,
    nesterov: bool,
) -> None:
    """Descent with momentum: m = keep m + g', w -= rate m, with g' = g + decay w.

    Nesterov's variant looks one step ahead: w -= rate (g' + keep m).
    """
    settings = [keep, *((1, keep) if nesterov else (0, 1))]
    _sgd(pieces, table, numbers, np.array(settings, numbers.dtype), momentum)


def rmsprop(
    pieces: Array,
    table: Array,
    numbers: Array,
    square: Array,
    momentum: Array,
    *,
    decay: float,
    keep: float,
    eps: float,
) -> None:
    """S += (1 - decay) (g'^2 - s), m = keep m + rate g' / sqrt(s + eps), w -= m."""
    settings = np.array([1 - decay, keep, eps], numbers.dtype)
    _rmsprop(pieces, table, numbers, settings, square, momentum)


def adam(
    pieces: Array,
    table: Array,
    numbers: Array,
    mean: Array,
    square: Array,
    *,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """W = shrink w - rate mean / (deviation sqrt(square) + eps), with moving averages of g', g'^2.

    `numbers` has two columns more: shrink, and what deviation is to be multiplied with.
    """
    settings = np.array([1 - betas[0], 1 - betas[1], eps], numbers.dtype)
    _adam(pieces, table, numbers, settings, mean, square)


def average(pieces: Array, table: Array, averages: Array, *, share: float) -> None:
    """Averages += share (x - averages), with `table` the addresses of x."""
    _average(pieces, table, np.array([share], averages.dtype), averages)


def norm(pieces: Array, table: Array, dtype: Any) -> float:
    """Root of the sum of the squares of all numbers, summed in float64 in one fixed order."""
    sums = np.empty(len(pieces), np.float64)
    _squares(pieces, table, np.empty(0, dtype), sums)
    return math.sqrt(sums.sum())


def multiply(pieces: Array, table: Array, factor: float, dtype: Any) -> None:
    """X *= factor, for all numbers."""
    _multiply(pieces, table, np.array([factor], dtype))


def clamp(pieces: Array, table: Array, limit: float, dtype: Any) -> None:
    """All numbers to [-limit, limit]; a nan stays a nan."""
    _clamp(pieces, table, np.array([limit], dtype))
