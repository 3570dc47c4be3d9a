"""A 1 x 1 convolution with stride 1 is a matrix product as it stands: no copy, no columns.

    x (N H W, C)  @  filters (C, OC)  ->  y (N H W, OC)

It stands beside the ladder: `im2col` without the columns, where there are none to make.  Channels
last make each pixel one row.  This is 26 % of the multiplications of Inception-v4 and 54 % of those
of Inception-ResNet-v2.

*Cost.*  2 N H W C OC operations; pixels, filters and result are read or written once from and to
memory, 4 (N H W C + C OC + N H W OC) bytes, which is the least that there is.

*Bound by* the multiply-adds; by memory where a picture has few pixels to share the filters.
"""

from minincep_kernels import Array
from minincep_kernels.registry import Variant, register
from minincep_kernels.shapes import Conv2dShape


def supports(shape: Conv2dShape) -> bool:
    return shape.kernel == shape.stride == (1, 1) and shape.padding == (0, 0, 0, 0)


def forward(x: Array, filters: Array, shape: Conv2dShape) -> Array:
    y: Array = x.reshape(-1, shape.channels) @ filters[0, 0]
    return y.reshape(shape.output)


def input_gradient(gy: Array, filters: Array, shape: Conv2dShape) -> Array:
    gx: Array = gy.reshape(-1, shape.out_channels) @ filters[0, 0].T
    return gx.reshape(shape.input)


def filter_gradient(x: Array, gy: Array, shape: Conv2dShape) -> Array:
    gw: Array = x.reshape(-1, shape.channels).T @ gy.reshape(-1, shape.out_channels)
    return gw.reshape(shape.filters)


register(
    Variant(
        op="conv2d",
        name="pointwise",
        supports=supports,
        forward=forward,
        input_gradient=input_gradient,
        filter_gradient=filter_gradient,
        uses_blas=True,
    )
)
