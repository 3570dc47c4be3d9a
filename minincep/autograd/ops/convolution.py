"""Convolution."""

from typing import Any

import minincep_kernels.conv2d  # noqa: F401  (registers the variants)
from minincep.autograd.op import op
from minincep_kernels import Array, norm
from minincep_kernels.errors import ShapeError
from minincep_kernels.registry import choose
from minincep_kernels.shapes import Conv2dShape, Padding, conv2d_shape


def _checked(
    x: Array, filters: Array, bias: Array | None, stride: tuple[int, int], padding: Padding
) -> Conv2dShape:
    shape = conv2d_shape(x.shape, filters.shape, stride, padding)
    if bias is not None and bias.shape != (shape.out_channels,):
        raise ShapeError(f"conv2d: bias must be ({shape.out_channels},), got {bias.shape}")
    return shape


@op
def conv2d(
    x: Array,
    filters: Array,
    bias: Array | None = None,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: Padding = "valid",
) -> tuple[Array, Any]:
    """Convolve images with filters: (N, H, W, C), (KH, KW, C, OC), (OC,) -> (N, OH, OW, OC).

    Parameters
    ----------
    bias
        One number for each output channel, or None.
    padding
        "valid" (none), "same" (OH = ceil(H / SH), as TensorFlow defines it), or pixels at the
        top, bottom, left and right.

    Raises
    ------
    ShapeError
        If the number of channels differs, the filter is larger than the padded image, or the
        bias does not fit.
    """
    shape = _checked(x, filters, bias, stride, padding)
    y = choose("conv2d", shape).forward(x, filters, shape)
    if bias is not None:
        y += bias
    input_gradient = choose("conv2d", shape, "input_gradient").input_gradient
    filter_gradient = choose("conv2d", shape, "filter_gradient").filter_gradient
    return y, (x, filters, shape, input_gradient, filter_gradient)


@conv2d.shape
def _(
    x: Array,
    filters: Array,
    bias: Array | None,
    *,
    stride: tuple[int, int],
    padding: Padding,
) -> tuple[int, ...]:
    return _checked(x, filters, bias, stride, padding).output


@conv2d.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...], **_: Any) -> tuple[Array | None, ...]:
    x, filters, shape, input_gradient, filter_gradient = residuals
    gx = input_gradient(gy, filters, shape) if needs[0] else None
    gw = filter_gradient(x, gy, shape) if needs[1] else None
    return gx, gw, norm.channel_sums(gy) if needs[2] else None
