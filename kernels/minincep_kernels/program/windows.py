"""Pooling and the small steps at the end, on vectors of channels: one pass over memory each."""

from typing import Any

import numpy as np

from minincep_kernels.intrinsics import add, get, load, maximum, multiply, put, splat, store_up_to
from minincep_kernels.jit import inlined
from minincep_kernels.program.memory import Memory
from minincep_kernels.program.products import Pair, floor_of
from minincep_kernels.vectors import LANES


@inlined
def _inside(step: Any, line: int, j: int) -> tuple[Pair, Pair, int]:
    """Lines and columns of a window that lie inside its picture, and the picture's first pixel."""
    image, i = divmod(line, step.out_height)
    top = i * step.stride_height - step.top
    left = j * step.stride_width - step.left
    down = (max(top, 0), min(top + step.kernel_height, step.height))
    across = (max(left, 0), min(left + step.kernel_width, step.width))
    return down, across, image * step.height * step.width


@inlined
def max_pool(step: Any, rows: Pair, memory: Memory) -> None:
    """Lines rows[0] to rows[1] of output pixels: the largest value of each window."""
    for line in range(rows[0], rows[1]):
        for j in range(step.out_width):
            down, across, image = _inside(step, line, j)
            place = step.out_offset + (line * step.out_width + j) * step.out_pitch
            for channel in range(0, step.channels, LANES):
                best = splat(np.float32(-np.inf))
                for h in range(down[0], down[1]):
                    for w in range(across[0], across[1]):
                        pixel = (image + h * step.width + w) * step.in_pitch
                        best = maximum(best, load(memory.x, step.in_offset + pixel + channel))
                store_up_to(memory.out, place + channel, step.channels - channel, best)


@inlined
def average_pool(step: Any, rows: Pair, memory: Memory) -> None:
    """The same for means, over the pixels that lie inside the image; then bias and ReLU, if any."""
    floor = splat(floor_of(step))
    for line in range(rows[0], rows[1]):
        for j in range(step.out_width):
            down, across, image = _inside(step, line, j)
            count = (down[1] - down[0]) * (across[1] - across[0])
            share = splat(np.float32(1) / np.float32(count))
            place = step.out_offset + (line * step.out_width + j) * step.out_pitch
            for channel in range(0, step.channels, LANES):
                total = splat(np.float32(0))
                for h in range(down[0], down[1]):
                    for w in range(across[0], across[1]):
                        pixel = (image + h * step.width + w) * step.in_pitch
                        total = add(total, load(memory.x, step.in_offset + pixel + channel))
                mean = multiply(total, share)
                if step.bias >= 0:
                    mean = add(mean, load(memory.weights, step.bias + channel))
                mean = maximum(mean, floor)
                store_up_to(memory.out, place + channel, step.channels - channel, mean)


@inlined
def global_average(step: Any, rows: Pair, memory: Memory) -> None:
    """Pictures rows[0] to rows[1]: the mean of all pixels."""
    pixels = step.height * step.width
    share = splat(np.float32(1) / np.float32(pixels))
    for image in range(rows[0], rows[1]):
        for channel in range(0, step.channels, LANES):
            total = splat(np.float32(0))
            for pixel in range(image * pixels, (image + 1) * pixels):
                value = load(memory.x, step.in_offset + pixel * step.in_pitch + channel)
                total = add(total, value)
            place = step.out_offset + image * step.out_pitch + channel
            store_up_to(memory.out, place, step.channels - channel, multiply(total, share))


@inlined
def copy(step: Any, rows: Pair, memory: Memory) -> None:
    """Pixels rows[0] to rows[1] of the batch, to where they belong."""
    for pixel in range(rows[0], rows[1]):
        source = step.in_offset + pixel * step.in_pitch
        place = step.out_offset + pixel * step.out_pitch
        for channel in range(step.channels):
            put(memory.out, place + channel, get(memory.x, source + channel))


@inlined
def l2_normalize(step: Any, rows: Pair, memory: Memory) -> None:
    """Rows rows[0] to rows[1], each divided by its length, taken as at least 1e-5."""
    for row in range(rows[0], rows[1]):
        source = step.in_offset + row * step.in_pitch
        place = step.out_offset + row * step.out_pitch
        squares = np.float32(0)
        for channel in range(step.channels):
            squares += get(memory.x, source + channel) ** 2
        inverse = np.float32(1) / np.sqrt(max(squares, np.float32(1e-10)))
        for channel in range(step.channels):
            put(memory.out, place + channel, get(memory.x, source + channel) * inverse)


@inlined
def softmax(step: Any, rows: Pair, memory: Memory) -> None:
    """Rows rows[0] to rows[1]: exponentials, divided by their sum."""
    for row in range(rows[0], rows[1]):
        source = step.in_offset + row * step.in_pitch
        place = step.out_offset + row * step.out_pitch
        largest = get(memory.x, source)
        for channel in range(step.channels):
            largest = max(largest, get(memory.x, source + channel))
        total = np.float32(0)
        for channel in range(step.channels):
            exponential = np.exp(get(memory.x, source + channel) - largest)
            put(memory.out, place + channel, exponential)
            total += exponential
        for channel in range(step.channels):
            put(memory.out, place + channel, get(memory.out, place + channel) / total)
