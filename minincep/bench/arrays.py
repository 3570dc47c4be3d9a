"""Numbers for an operation on a shape: what goes in, what must come out, and how far off it is."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minincep_kernels import Array
from minincep_kernels.shapes import (
    Conv2dShape,
    GemmShape,
    MomentsShape,
    NormalizeShape,
    Pool2dShape,
)


@dataclass(frozen=True)
class Operation:
    """What must be known of an operation to test and time its variants.

    Attributes
    ----------
    draw
        (shape, generator) -> the arrays that a variant gets, by the names of its arguments.
    exact
        (arrays as float64, shape) -> the results, worked out in float64 without our kernels.
    control
        (arrays) -> anything: what NumPy does with the same memory, in the way of the operation, as
        a measure of what the machine gives at a moment.
    axes
        What the axes of a result are called.
    results
        The names of the results, if there is more than one.
    """

    draw: Callable[[Any, np.random.Generator], dict[str, Array]]
    exact: Callable[..., Array | tuple[Array, ...]]
    control: Callable[..., object]
    axes: tuple[str, ...]
    results: tuple[str, ...] = ("",)


@dataclass(frozen=True)
class Difference:
    """The largest difference from an exact result: its place, and the two numbers."""

    error: float  # in standard deviations of the exact result
    where: str
    got: float
    wanted: float


def drawn(op: str, shape: Any) -> dict[str, Array]:
    """The arrays that a variant gets: always the same for a shape."""
    seed = zlib.crc32(repr((op, shape)).encode())
    return OPERATIONS[op].draw(shape, np.random.default_rng(seed))


def exact(op: str, shape: Any, arrays: dict[str, Array]) -> tuple[Array, ...]:
    """What must come out: numbers in float64, or whole ones."""
    wide = [array.astype(np.float64) for array in arrays.values()]
    found = OPERATIONS[op].exact(*wide, shape)
    return found if isinstance(found, tuple) else (found,)


def difference(op: str, result: Array, wanted: Array) -> Difference:
    """Where a result is farthest from the exact one; a number that is none is farther than all."""
    distance = np.abs(result - wanted.astype(np.float64))
    place = np.unravel_index(np.argmax(distance), distance.shape)
    pairs = zip(OPERATIONS[op].axes, place, strict=True)
    return Difference(
        float(distance[place] / (wanted.std() or 1.0)),
        ", ".join(f"{axis} {index}" for axis, index in pairs),
        float(result[place]),
        float(wanted[place]),
    )


def _normal(generator: np.random.Generator, *shape: int) -> Array:
    return generator.standard_normal(shape, np.float32)


def _draw_gemm(shape: GemmShape, generator: np.random.Generator) -> dict[str, Array]:
    return {
        "a": _normal(generator, shape.rows, shape.depth),
        "b": _normal(generator, shape.depth, shape.columns),
    }


def _gemm(a: Array, b: Array, shape: GemmShape) -> Array:
    result: Array = a @ b
    return result


def _draw_conv2d(shape: Conv2dShape, generator: np.random.Generator) -> dict[str, Array]:
    return {"x": _normal(generator, *shape.input), "filters": _normal(generator, *shape.filters)}


def _conv2d(x: Array, filters: Array, shape: Conv2dShape) -> Array:
    """One matrix product for each tap of the filter."""
    y = np.zeros(shape.output)
    for u, v, window in _windows(x, shape, 0.0):
        y += window @ filters[u, v]
    return y


def _draw_images(shape: Pool2dShape, generator: np.random.Generator) -> dict[str, Array]:
    return {"x": _normal(generator, *shape.input)}


def _max_pool2d(x: Array, shape: Pool2dShape) -> tuple[Array, Array]:
    """The largest of each window, and which of its pixels that is, line by line."""
    y, place = np.full(shape.output, -np.inf), np.zeros(shape.output, np.uint8)
    for u, v, window in _windows(x, shape, -np.inf):
        place[window > y] = u * shape.kernel[1] + v
        np.maximum(y, window, out=y)
    return y, place


def _avg_pool2d(x: Array, shape: Pool2dShape) -> Array:
    """The mean of what is there: padding is not counted."""
    inside = np.ones(shape.input)
    pairs = zip(_windows(x, shape, 0.0), _windows(inside, shape, 0.0), strict=True)
    sums = [(window, count) for (_, _, window), (_, _, count) in pairs]
    y: Array = sum(window for window, _ in sums) / sum(count for _, count in sums)
    return y


def _draw_moments(shape: MomentsShape, generator: np.random.Generator) -> dict[str, Array]:
    """Each channel has a mean and a deviation of its own."""
    mean, deviation = _normal(generator, 2, shape.channels)
    return {"x": _normal(generator, *shape.input) * (1 + np.abs(deviation)) + mean}


def _moments(x: Array, shape: MomentsShape) -> tuple[Array, Array]:
    return x.mean(axis=0), x.var(axis=0)


def _draw_normalize(shape: NormalizeShape, generator: np.random.Generator) -> dict[str, Array]:
    affine = _normal(generator, 3, shape.channels)
    return {"x": _normal(generator, *shape.input), "affine": affine}


def _normalize(x: Array, affine: Array, shape: NormalizeShape) -> Array:
    mean, scale, shift = affine
    y: Array = (x - mean) * scale + shift
    return np.maximum(y, 0) if shape.relu else y


def _one_tap(x: Array, filters: Array) -> object:
    """All pixels by the filters of one tap."""
    return x.reshape(-1, x.shape[-1]) @ filters[0, 0]


def _one_pass(x: Array, *_: Array) -> object:
    return np.maximum(x, 0)


def _windows(x: Array, shape: Pool2dShape, outside: float) -> Any:
    """For each tap (u, v), the pixels that it meets: (N, OH, OW, C)."""
    top, bottom, left, right = shape.padding
    sides = ((0, 0), (top, bottom), (left, right), (0, 0))
    padded = np.pad(x, sides, constant_values=outside)
    for u in range(shape.kernel[0]):
        for v in range(shape.kernel[1]):
            rows = slice(u, u + shape.out_height * shape.stride[0], shape.stride[0])
            columns = slice(v, v + shape.out_width * shape.stride[1], shape.stride[1])
            yield u, v, padded[:, rows, columns][:, : shape.out_height, : shape.out_width]


PICTURE = ("picture", "row", "column", "channel")
OPERATIONS = {
    "gemm": Operation(_draw_gemm, _gemm, np.matmul, ("row", "column")),
    "conv2d": Operation(_draw_conv2d, _conv2d, _one_tap, PICTURE),
    "moments": Operation(_draw_moments, _moments, _one_pass, ("channel",), ("mean", "variance")),
    "normalize": Operation(_draw_normalize, _normalize, _one_pass, ("row", "channel")),
    "max_pool2d": Operation(_draw_images, _max_pool2d, _one_pass, PICTURE, ("largest", "place")),
    "avg_pool2d": Operation(_draw_images, _avg_pool2d, _one_pass, PICTURE),
}
