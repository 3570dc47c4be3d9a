"""Convolution, window by window: right, and slow."""

import numpy as np

from minincep_kernels import Array
from minincep_kernels.registry import variant
from minincep_kernels.shapes import Conv2dShape


@variant("conv2d", name="windows", uses_blas=True)
def forward(x: Array, filters: Array, shape: Conv2dShape) -> Array:
    top, bottom, left, right = shape.padding
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    y = np.empty(shape.output, x.dtype)
    for i, j in np.ndindex(shape.out_height, shape.out_width):
        h, w = i * shape.stride[0], j * shape.stride[1]
        window = x[:, h : h + shape.kernel[0], w : w + shape.kernel[1]]
        y[:, i, j] = window.reshape(-1, shape.taps) @ filters.reshape(shape.taps, -1)
    return y
