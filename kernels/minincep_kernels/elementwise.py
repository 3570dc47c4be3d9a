"""Element by element: bound by memory, so each is one pass over it, on all threads."""

import itertools
from collections.abc import Sequence

import numpy as np
from numba import prange

from minincep_kernels import Array, buffers
from minincep_kernels.jit import kernel
from minincep_kernels.norm.sums import flat

SMALL = 1 << 14  # numbers that one thread has added before the others are awake


@kernel
def _relu(x: Array, out: Array) -> None:
    for i in prange(x.size):
        value = x[i]
        out[i] = 0 if value < 0 else value  # so that a nan stays a nan


@kernel
def _relu_gradient(y: Array, gy: Array, out: Array) -> None:
    for i in prange(y.size):
        out[i] = gy[i] if y[i] > 0 else 0


@kernel
def _add(a: Array, b: Array, out: Array) -> None:
    for i in prange(a.size):
        out[i] = a[i] + b[i]


@kernel
def _accumulate(a: Array, out: Array) -> None:
    for i in prange(a.size):
        out[i] += a[i]


@kernel
def _finish_residual(x: Array, bias: Array, factor: float, lowest: float, out: Array) -> None:
    rows, channels = x.shape
    for m in prange(rows):
        for c in range(channels):
            y = x[m, c] + (out[m, c] + bias[c]) * factor
            out[m, c] = lowest if y < lowest else y


@kernel
def _insert(part: Array, first: int, out: Array) -> None:
    """Rows into rows, from column `first` on: (M, C) -> part of (M, W)."""
    rows, channels = part.shape
    for m in prange(rows):
        place = out[m, first : first + channels]
        for c in range(channels):
            place[c] = part[m, c]


@kernel
def _accumulate_part(part: Array, first: int, out: Array) -> None:
    """Rows added to rows, from column `first` on: (M, C) -> part of (M, W)."""
    rows, channels = part.shape
    for m in prange(rows):
        place = out[m, first : first + channels]
        for c in range(channels):
            place[c] += part[m, c]


@kernel
def _widen(part: Array, first: int, out: Array) -> None:
    """Rows, with zeros before column `first` and behind: (M, C) -> (M, W)."""
    rows, channels = part.shape
    for m in prange(rows):
        out[m, :first] = 0
        place = out[m, first : first + channels]
        for c in range(channels):
            place[c] = part[m, c]
        out[m, first + channels :] = 0


@kernel
def _copy_rows(x: Array, pitch: int, out: Array) -> None:
    """Rows that lie a pitch apart: -> (M, C)."""
    rows, channels = out.shape
    for m in prange(rows):
        line = x[np.int64(m) * pitch : np.int64(m) * pitch + channels]
        for c in range(channels):
            out[m, c] = line[c]


@kernel
def _scale(x: Array, factor: Array, out: Array) -> None:
    for i in prange(x.size):
        out[i] = x[i] * factor[0]


def relu(x: Array) -> Array:
    """max(x, 0), any shape -> same shape; a nan stays a nan."""
    y = buffers.empty(x.shape, x.dtype)
    _relu(x.reshape(-1), y.reshape(-1))
    return y


def relu_gradient(y: Array, gy: Array) -> Array:
    """gy where y > 0, else 0, with y the result of `relu`."""
    gx = buffers.empty(y.shape, y.dtype)
    _relu_gradient(y.reshape(-1), gy.reshape(-1), gx.reshape(-1))
    return gx


def add(a: Array, b: Array) -> Array:
    """a + b, both of one shape."""
    y = buffers.empty(a.shape, a.dtype)
    _add(a.reshape(-1), b.reshape(-1), y.reshape(-1))
    return y


def accumulate(a: Array, out: Array) -> None:
    """Add a to `out`, which is changed; both of one shape."""
    if out.size < SMALL:
        np.add(out, a, out=out)
    else:
        _accumulate(a.reshape(-1), out.reshape(-1))


def finish_residual(x: Array, bias: Array, factor: float, out: Array, *, relu: bool) -> None:
    """X + factor (out + bias), then perhaps a ReLU, to `out`: (..., C), (C,), (..., C).

    A nan stays a nan.
    """
    number = out.dtype.type
    lowest = number(0 if relu else np.nan)  # nothing is below nan
    channels = (-1, out.shape[-1])
    _finish_residual(x.reshape(channels), bias, number(factor), lowest, out.reshape(channels))


def concat(parts: Sequence[Array]) -> Array:
    """Channels side by side: (..., C1), (..., C2), ... -> (..., C1 + C2 + ...)."""
    channels = [part.shape[-1] for part in parts]
    y = buffers.empty((*parts[0].shape[:-1], sum(channels)), parts[0].dtype)
    if y.size:
        rows, first = y.reshape(-1, y.shape[-1]), 0
        for part, count in zip(parts, channels, strict=True):
            if count:
                _insert(part.reshape(-1, count), first, rows)
            first += count
    return y


def accumulate_part(part: Array, first: int, out: Array) -> None:
    """Add to some channels of `out`, which is changed: (..., c) -> part of (..., C)."""
    if part.size:
        rows = (-1, out.shape[-1])
        _accumulate_part(part.reshape(-1, part.shape[-1]), first, out.reshape(rows))


def split(x: Array, channels: Sequence[int]) -> list[Array]:
    """The parts that `concat` made one array of, where they lie.

    (..., C1 + C2 + ...) -> (..., C1), (..., C2), ...
    """
    ends = itertools.accumulate(channels, initial=0)
    return [x[..., first:last] for first, last in itertools.pairwise(ends)]


def copied(x: Array) -> Array:
    """A copy; that of some channels of a wider array, on all threads."""
    y = buffers.empty(x.shape, x.dtype)
    rows, pitch = flat(x.reshape(-1, x.shape[-1])) if x.ndim > 1 and x.size > SMALL else (x, 0)
    if pitch:
        _copy_rows(rows, pitch, y.reshape(-1, x.shape[-1]))
    else:
        y[...] = x
    return y


def widen(part: Array, first: int, channels: int) -> Array:
    """Zeros, but for some channels: (..., C) -> (..., channels)."""
    x = buffers.empty((*part.shape[:-1], channels), part.dtype)
    if x.size:
        _widen(part.reshape(-1, part.shape[-1]), first, x.reshape(-1, channels))
    return x


def scale(x: Array, factor: float) -> Array:
    """x times one number, rounded to the dtype of x first."""
    y = buffers.empty(x.shape, x.dtype)
    _scale(x.reshape(-1), np.array([factor], x.dtype), y.reshape(-1))
    return y
