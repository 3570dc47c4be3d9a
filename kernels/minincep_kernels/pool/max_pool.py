"""The largest value of each window, and where it is, a ladder; and the gradient.

Each rung is (x, shape) -> y, place: (N, H, W, C) -> 2 x (N, OH, OW, C).  The place of a pixel in
its window is u KW + v, or KH KW for nowhere, in the smallest type of whole numbers that will do:
training needs it, and a quarter of the bytes of y is little.

Padding never wins.  The first of equals does, and the first that is not a number before all others;
nowhere is the largest of a window that saw nothing above -inf.
"""

import numpy as np
from numba import prange

from minincep_kernels import Array, buffers
from minincep_kernels.jit import inlined, kernel
from minincep_kernels.pool.windows import span
from minincep_kernels.registry import prefer, variant
from minincep_kernels.shapes import Pool2dShape


@variant("max_pool2d", name="naive")
def naive(x: Array, shape: Pool2dShape) -> tuple[Array, Array]:
    """The definition, channel by channel: the largest of each window, then where it is.

    KH KW comparisons for the largest of a window, and as many more to find it again.  Neighbours
    within a channel are C numbers apart in memory, so a cache line of 16 numbers is fetched for one
    of them, and again for the next channel: up to 16 times the bytes of x, and twice, as y is read
    to find the places.  Bound by the caches and, on large maps, by what memory can deliver in
    single lines.  No vector instruction has 16 numbers to work on.
    """
    y, place = _empty(x, shape)
    _largest_by_channel(x, shape.kernel, shape.stride, shape.corner, y)
    _places_by_channel(x, y, shape.kernel, shape.stride, shape.corner, place)
    return y, place


@variant("max_pool2d", name="channels_inside", below="naive")
def channels_inside(x: Array, shape: Pool2dShape) -> tuple[Array, Array]:
    """The channel is the innermost loop: all numbers of a cache line are used when it comes.

    What changes: the order of the loops.  Channels lie together, so the compiler takes a vector of
    them at a time, and windows that overlap find their rows in the cache: x is read once from
    memory, and KH KW times from the cache.  Still two passes: 4 bytes for each number of x and of
    y, twice.  Bound by the caches' bandwidth.
    """
    y, place = _empty(x, shape)
    _largest(x, shape.kernel, shape.stride, shape.corner, y)
    _places(x, y, shape.kernel, shape.stride, shape.corner, place)
    return y, place


@variant("max_pool2d", name="one_pass", below="channels_inside")
def one_pass(x: Array, shape: Pool2dShape) -> tuple[Array, Array]:
    """Whoever takes the lead in a window leaves its place: one pass for both.

    What changes: KH KW comparisons for each window instead of twice that, and x is read once: 4
    bytes for each number of x, 5 for each of y with its place, the least there can be.  Bound by
    bandwidth on large maps; on small ones by the cache, which holds the lead of a pixel's channels
    and its place, and is asked for both at each of the KH KW.
    """
    y, place = _empty(x, shape)
    _leaders(x, shape.kernel, shape.stride, shape.corner, y, place)
    return y, place


prefer("max_pool2d", lambda shape, part: "one_pass")


def _empty(x: Array, shape: Pool2dShape) -> tuple[Array, Array]:
    """Room for y and for the places."""
    nowhere = shape.kernel[0] * shape.kernel[1]
    y = buffers.empty(shape.output, x.dtype)
    return y, buffers.empty(shape.output, np.min_scalar_type(nowhere))


@inlined
def _leads(value: float, best: float) -> bool:
    """Whether a value, larger or nan, takes the lead; a nan keeps it, and the first of equals."""
    return (not value <= best) & (best == best)


@inlined
def _is_the_largest(value: float, best: float) -> bool:
    """Whether a value is the largest of a window, which is nan if one is, and not -inf."""
    return ((value == best) & (value > -np.inf)) | (value != value)


@kernel
def _largest_by_channel(
    x: Array,
    window: tuple[int, int],
    stride: tuple[int, int],
    corner: tuple[int, int],
    out: Array,
) -> None:
    batch, height, width, channels = x.shape
    _, out_height, out_width, _ = out.shape
    for image in prange(batch * channels):
        n, c = divmod(np.int64(image), channels)
        for i in range(out_height):
            top, bottom = span(i, window[0], stride[0], corner[0], height)
            for j in range(out_width):
                left, right = span(j, window[1], stride[1], corner[1], width)
                best = x.dtype.type(-np.inf)
                for h in range(top, bottom):
                    for w in range(left, right):
                        best = x[n, h, w, c] if _leads(x[n, h, w, c], best) else best
                out[n, i, j, c] = best


@kernel
def _places_by_channel(
    x: Array,
    y: Array,
    window: tuple[int, int],
    stride: tuple[int, int],
    corner: tuple[int, int],
    out: Array,
) -> None:
    batch, height, width, channels = x.shape
    _, out_height, out_width, _ = out.shape
    for image in prange(batch * channels):
        n, c = divmod(np.int64(image), channels)
        for i in range(out_height):
            top, bottom = span(i, window[0], stride[0], corner[0], height)
            first_row = i * stride[0] - corner[0]
            for j in range(out_width):
                left, right = span(j, window[1], stride[1], corner[1], width)
                first_column = j * stride[1] - corner[1]
                place = window[0] * window[1]
                for h in range(bottom - 1, top - 1, -1):  # backwards: the first overwrites
                    for w in range(right - 1, left - 1, -1):
                        here = (h - first_row) * window[1] + w - first_column
                        place = here if _is_the_largest(x[n, h, w, c], y[n, i, j, c]) else place
                out[n, i, j, c] = place


@kernel
def _largest(
    x: Array,
    window: tuple[int, int],
    stride: tuple[int, int],
    corner: tuple[int, int],
    out: Array,
) -> None:
    batch, height, width, channels = x.shape
    _, out_height, out_width, _ = out.shape
    for row in prange(batch * out_height):
        n, i = divmod(np.int64(row), out_height)
        top, bottom = span(i, window[0], stride[0], corner[0], height)
        for j in range(out_width):
            left, right = span(j, window[1], stride[1], corner[1], width)
            out[n, i, j, :] = -np.inf
            for h in range(top, bottom):
                for w in range(left, right):
                    for c in range(channels):
                        value, best = x[n, h, w, c], out[n, i, j, c]
                        out[n, i, j, c] = value if _leads(value, best) else best


@kernel
def _places(
    x: Array,
    y: Array,
    window: tuple[int, int],
    stride: tuple[int, int],
    corner: tuple[int, int],
    out: Array,
) -> None:
    batch, height, width, channels = x.shape
    _, out_height, out_width, _ = out.shape
    for row in prange(batch * out_height):
        n, i = divmod(np.int64(row), out_height)
        top, bottom = span(i, window[0], stride[0], corner[0], height)
        for j in range(out_width):
            left, right = span(j, window[1], stride[1], corner[1], width)
            out[n, i, j, :] = window[0] * window[1]
            for h in range(bottom - 1, top - 1, -1):  # backwards: the first overwrites
                for w in range(right - 1, left - 1, -1):
                    u, v = h - i * stride[0] + corner[0], w - j * stride[1] + corner[1]
                    here = out.dtype.type(u * window[1] + v)
                    for c in range(channels):
                        wins = _is_the_largest(x[n, h, w, c], y[n, i, j, c])
                        out[n, i, j, c] = here if wins else out[n, i, j, c]


@kernel
def _leaders(
    x: Array,
    window: tuple[int, int],
    stride: tuple[int, int],
    corner: tuple[int, int],
    out: Array,
    out_place: Array,
) -> None:
    batch, height, width, channels = x.shape
    _, out_height, out_width, _ = out.shape
    nowhere = out_place.dtype.type(window[0] * window[1])
    for row in prange(batch * out_height):
        n, i = divmod(np.int64(row), out_height)
        top, bottom = span(i, window[0], stride[0], corner[0], height)
        for j in range(out_width):
            left, right = span(j, window[1], stride[1], corner[1], width)
            out[n, i, j, :] = -np.inf
            out_place[n, i, j, :] = nowhere
            for h in range(top, bottom):
                for w in range(left, right):
                    u, v = h - i * stride[0] + corner[0], w - j * stride[1] + corner[1]
                    here = out_place.dtype.type(u * window[1] + v)
                    for c in range(channels):
                        value, best, place = x[n, h, w, c], out[n, i, j, c], out_place[n, i, j, c]
                        wins = _leads(value, best)
                        out[n, i, j, c] = value if wins else best
                        out_place[n, i, j, c] = here if wins else place


@kernel
def _max_backward(
    gy: Array,
    place: Array,
    window: tuple[int, int],
    stride: tuple[int, int],
    corner: tuple[int, int],
    out: Array,
) -> None:
    batch, height, width, channels = out.shape
    _, out_height, out_width, _ = gy.shape
    zero = gy.dtype.type(0)
    for row in prange(batch * height):
        n, h = divmod(np.int64(row), height)
        for w in range(width):
            out[n, h, w, :] = 0
            for u in range(window[0]):
                i, between = divmod(h + corner[0] - u, stride[0])
                if between or not 0 <= i < out_height:
                    continue
                for v in range(window[1]):
                    j, between = divmod(w + corner[1] - v, stride[1])
                    if between or not 0 <= j < out_width:
                        continue
                    here = place.dtype.type(u * window[1] + v)
                    for c in range(channels):
                        g = gy[n, i, j, c]
                        out[n, h, w, c] += g if place[n, i, j, c] == here else zero


def max_backward(gy: Array, place: Array, shape: Pool2dShape) -> Array:
    """Each output gradient goes to the pixel that won: (N, OH, OW, C) -> (N, H, W, C)."""
    gx = buffers.empty(shape.input, gy.dtype)
    _max_backward(gy, place, shape.kernel, shape.stride, shape.corner, gx)
    return gx
