"""What the kernels should give, each written as its definition says, in float64 and with loops.

Nothing is shared with the kernels but the sizes.  Images are really padded here, and gradients are
handed from the output to the input, where the kernels gather them.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from minincep_kernels import Array
from minincep_kernels.shapes import Conv2dShape, Pool2dShape

Index = tuple[Any, ...]


def assert_close(actual: Array, expected: Array, *, roundings: float = 50) -> None:
    """Equal but for rounding: in units of the last place of the largest value of `expected`."""
    assert actual.shape == expected.shape
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    tolerance = roundings * np.finfo(actual.dtype).eps * largest
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def padded(x: Array, shape: Pool2dShape, value: float = 0.0) -> Array:
    """(N, H, W, C) -> (N, PT + H + PB, PL + W + PR, C), float64."""
    top, bottom, left, right = shape.padding
    sides = ((0, 0), (top, bottom), (left, right), (0, 0))
    return np.pad(x.astype(np.float64), sides, constant_values=value)


def cropped(x: Array, shape: Pool2dShape) -> Array:
    """What `padded` put around taken away again."""
    top, _, left, _ = shape.padding
    return x[:, top : top + shape.height, left : left + shape.width]


def windows(shape: Pool2dShape) -> Iterator[tuple[Index, Index]]:
    """For each output pixel its index, and the index of its window in the padded images."""
    for n in range(shape.batch):
        for i in range(shape.out_height):
            for j in range(shape.out_width):
                top, left = i * shape.stride[0], j * shape.stride[1]
                rows = slice(top, top + shape.kernel[0])
                columns = slice(left, left + shape.kernel[1])
                yield (n, i, j), (n, rows, columns)


def convolve(x: Array, filters: Array, shape: Conv2dShape) -> Array:
    image = padded(x, shape)
    y = np.zeros(shape.output)
    for pixel, window in windows(shape):
        y[pixel] = (image[window][..., None] * filters).sum(axis=(0, 1, 2))
    return y


def convolve_input_gradient(gy: Array, filters: Array, shape: Conv2dShape) -> Array:
    gradient = padded(np.zeros(shape.input), shape)
    for pixel, window in windows(shape):
        gradient[window] += (filters.astype(np.float64) * gy[pixel]).sum(axis=-1)
    return cropped(gradient, shape)


def convolve_filter_gradient(x: Array, gy: Array, shape: Conv2dShape) -> Array:
    image = padded(x, shape)
    gradient = np.zeros(shape.filters)
    for pixel, window in windows(shape):
        gradient += image[window][..., None] * gy[pixel]
    return gradient


def max_pool(x: Array, shape: Pool2dShape) -> Array:
    image = padded(x, shape, -np.inf)
    y = np.zeros(shape.output)
    for pixel, window in windows(shape):
        y[pixel] = image[window].max(axis=(0, 1))
    return y


def max_pool_gradient(x: Array, gy: Array, shape: Pool2dShape) -> Array:
    """The first of the largest takes the gradient; `argmax` counts nan as the largest."""
    image = padded(x, shape, -np.inf)
    gradient = np.zeros(image.shape)
    for pixel, window in windows(shape):
        for c in range(shape.channels):
            values = image[window][..., c]
            winner = divmod(int(values.argmax()), values.shape[1])
            gradient[window][*winner, c] += gy[*pixel, c]
    return cropped(gradient, shape)


def average_pool(x: Array, shape: Pool2dShape) -> Array:
    image = padded(x, shape, np.nan)
    y = np.zeros(shape.output)
    for pixel, window in windows(shape):
        for c in range(shape.channels):
            inside = [value for value in image[window][..., c].flat if not math.isnan(value)]
            y[*pixel, c] = math.fsum(inside) / len(inside)
    return y


def average_pool_gradient(gy: Array, shape: Pool2dShape) -> Array:
    inside = padded(np.ones(shape.input), shape)
    gradient = np.zeros(inside.shape)
    for pixel, window in windows(shape):
        gradient[window] += gy[pixel] / inside[window][..., 0].sum()
    return cropped(gradient, shape)


def rows(x: Array) -> Array:
    """(..., C) -> (M, C), float64."""
    return x.reshape(-1, x.shape[-1]).astype(np.float64)


def channel_statistics(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel."""
    mean, variance = [], []
    for values in rows(x).T:
        mean.append(math.fsum(values) / len(values))
        variance.append(math.fsum((values - mean[-1]) ** 2) / len(values))
    return np.array(mean), np.array(variance)


def batch_norm(
    x: Array, gamma: Array | None, beta: Array, mean: Array, variance: Array, eps: float
) -> Array:
    y = np.zeros(x.shape)
    for c in range(x.shape[-1]):
        factor = 1.0 if gamma is None else float(gamma[c])
        deviation = math.sqrt(float(variance[c]) + eps)
        y[..., c] = factor * (x[..., c].astype(np.float64) - mean[c]) / deviation + beta[c]
    return y


def batch_norm_input_gradient(x: Array, gy: Array, scale: Array, eps: float) -> Array:
    """Through the statistics of the batch, with the whole Jacobian of each channel.

    With y_i = scale (x_i - mean) and scale = gamma / sqrt(variance + eps):
    dy_i / dx_j = scale (delta_ij - 1 / M - (x_i - mean) (x_j - mean) / (M (variance + eps))).
    """
    gradient = np.zeros_like(rows(x))
    mean, variance = channel_statistics(x)
    for c, values in enumerate(rows(x).T):
        apart = values - mean[c]
        own = np.eye(len(values)) - 1 / len(values)
        jacobian = own - np.outer(apart, apart) / (len(values) * (variance[c] + eps))
        gradient[:, c] = float(scale[c]) * (rows(gy)[:, c] @ jacobian)
    return gradient.reshape(x.shape)
