"""Pooling and the small steps at the end, on vectors of channels: bound by memory, so one pass each."""

import numpy as np
from numba.extending import register_jitable

from minincep_kernels.vectors import LANES, add, load, maximum, multiply, splat, store_up_to


@register_jitable  # type: ignore[untyped-decorator]  # Numba has no types
def _window(step, line, j):
    """The part of a window that lies inside its image: top, bottom, left, right, first pixel."""
    image, i = divmod(line, step.out_height)
    top = i * step.stride_height - step.top
    left = j * step.stride_width - step.left
    bottom, right = min(top + step.kernel_height, step.height), min(left + step.kernel_width, step.width)
    return max(top, 0), bottom, max(left, 0), right, image * step.height * step.width


@register_jitable
def max_pool(step, rows, x, out):
    """Lines rows[0] to rows[1] of output pixels: the largest value of each window."""
    for line in range(rows[0], rows[1]):
        for j in range(step.out_width):
            top, bottom, left, right, image = _window(step, line, j)
            place = step.out_offset + (line * step.out_width + j) * step.out_pitch
            for channel in range(0, step.channels, LANES):
                best = splat(np.float32(-np.inf))
                for h in range(top, bottom):
                    for w in range(left, right):
                        pixel = image + h * step.width + w
                        best = maximum(best, load(x, step.in_offset + pixel * step.in_pitch + channel))
                store_up_to(out, place + channel, step.channels - channel, best)


@register_jitable
def average_pool(step, rows, x, weights, out):
    """The same for means, over the pixels that lie inside the image; then bias and ReLU, if any."""
    floor = splat(np.float32(0) if step.relu else np.float32(-np.inf))
    for line in range(rows[0], rows[1]):
        for j in range(step.out_width):
            top, bottom, left, right, image = _window(step, line, j)
            share = splat(np.float32(1) / np.float32((bottom - top) * (right - left)))
            place = step.out_offset + (line * step.out_width + j) * step.out_pitch
            for channel in range(0, step.channels, LANES):
                total = splat(np.float32(0))
                for h in range(top, bottom):
                    for w in range(left, right):
                        pixel = image + h * step.width + w
                        total = add(total, load(x, step.in_offset + pixel * step.in_pitch + channel))
                mean = multiply(total, share)
                if step.bias >= 0:
                    mean = add(mean, load(weights, step.bias + channel))
                store_up_to(out, place + channel, step.channels - channel, maximum(mean, floor))


@register_jitable
def global_average(step, rows, x, out):
    """Pictures rows[0] to rows[1]: the mean of all pixels."""
    pixels = step.height * step.width
    share = splat(np.float32(1) / np.float32(pixels))
    for image in range(rows[0], rows[1]):
        for channel in range(0, step.channels, LANES):
            total = splat(np.float32(0))
            for pixel in range(image * pixels, (image + 1) * pixels):
                total = add(total, load(x, step.in_offset + pixel * step.in_pitch + channel))
            place = step.out_offset + image * step.out_pitch + channel
            store_up_to(out, place, step.channels - channel, multiply(total, share))


@register_jitable
def copy(step, rows, x, out):
    """Pixels rows[0] to rows[1] of the batch, to where they belong."""
    for pixel in range(rows[0], rows[1]):
        source = step.in_offset + pixel * step.in_pitch
        place = step.out_offset + pixel * step.out_pitch
        for channel in range(step.channels):
            out[place + channel] = x[source + channel]


@register_jitable
def l2_normalize(step, rows, x, out):
    """Rows rows[0] to rows[1], each divided by its length, taken as at least 1e-5."""
    for row in range(rows[0], rows[1]):
        source = step.in_offset + row * step.in_pitch
        place = step.out_offset + row * step.out_pitch
        squares = np.float32(0)
        for channel in range(step.channels):
            squares += x[source + channel] * x[source + channel]
        inverse = np.float32(1) / np.sqrt(max(squares, np.float32(1e-10)))
        for channel in range(step.channels):
            out[place + channel] = x[source + channel] * inverse


@register_jitable
def softmax(step, rows, x, out):
    """Rows rows[0] to rows[1]: exponentials, divided by their sum."""
    for row in range(rows[0], rows[1]):
        source = step.in_offset + row * step.in_pitch
        place = step.out_offset + row * step.out_pitch
        largest = np.max(x[source : source + step.channels])
        total = np.float32(0)
        for channel in range(step.channels):
            out[place + channel] = np.exp(x[source + channel] - largest)
            total += out[place + channel]
        for channel in range(step.channels):
            out[place + channel] /= total
