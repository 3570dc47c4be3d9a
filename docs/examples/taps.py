"""Convolution, tap by tap: all windows see a tap of the filter at once, in a shifted picture."""

import numpy as np

from minincep_kernels import Array
from minincep_kernels.registry import variant
from minincep_kernels.shapes import Conv2dShape


@variant("conv2d", name="taps", below="naive", uses_blas=True)
def forward(x: Array, filters: Array, shape: Conv2dShape) -> Array:
    top, bottom, left, right = shape.padding
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    y = np.zeros(shape.output, x.dtype)
    for u, v in np.ndindex(shape.kernel):
        lines = x[:, u :: shape.stride[0]][:, : shape.out_height]
        pixels = lines[:, :, v :: shape.stride[1]][:, :, : shape.out_width]
        y += pixels @ filters[u, v]
    return y
