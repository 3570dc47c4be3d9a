"""Convolution, and the end of a residual block, which is one and what follows it."""

from typing import Any

import minincep_kernels.conv2d  # noqa: F401  (registers the variants)
from minincep.autograd.op import op
from minincep.autograd.ops.activation import relu
from minincep.autograd.ops.arithmetic import add, scale
from minincep.autograd.tensor import Tensor
from minincep_kernels import Array, elementwise, norm
from minincep_kernels.errors import ShapeError
from minincep_kernels.registry import choose
from minincep_kernels.shapes import Conv2dShape, Padding, conv2d_shape


def _checked(
    x: Array,
    filters: Array,
    bias: Array | None,
    stride: tuple[int, int],
    padding: Padding,
    name: str = "conv2d",
) -> Conv2dShape:
    shape = conv2d_shape(x.shape, filters.shape, stride, padding)
    if bias is not None and bias.shape != (shape.out_channels,):
        raise ShapeError(f"{name}: bias must be ({shape.out_channels},), got {bias.shape}")
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


def _checked_residual(x: Array, branches: Array, filters: Array, bias: Array) -> Conv2dShape:
    shape = _checked(branches, filters, bias, (1, 1), "valid", "residual_conv2d")
    if x.shape != shape.output:
        raise ShapeError(
            f"residual_conv2d: x {x.shape} takes a change of its own shape, got {shape.output}"
        )
    return shape


@op
def residual_conv2d(
    x: Array, branches: Array, filters: Array, bias: Array, *, factor: float, with_relu: bool
) -> tuple[Array, Any]:
    """X + factor (branches * filters + bias), then a ReLU if wanted: the end of a residual block.

    (N, H, W, C), (N, H, W, B), (1, 1, B, C), (C,) -> (N, H, W, C).  All that follows the product is
    one pass over it, in place.

    Raises
    ------
    ShapeError
        If the convolution is none, or gives another shape than that of x.
    """
    shape = _checked_residual(x, branches, filters, bias)
    y = choose("conv2d", shape).forward(branches, filters, shape)
    elementwise.finish_residual(x, bias, factor, y, relu=with_relu)
    input_gradient = choose("conv2d", shape, "input_gradient").input_gradient
    filter_gradient = choose("conv2d", shape, "filter_gradient").filter_gradient
    kept = y if with_relu else None
    return y, (kept, branches, filters, shape, input_gradient, filter_gradient)


@residual_conv2d.shape
def _(x: Array, branches: Array, filters: Array, bias: Array, **_: Any) -> tuple[int, ...]:
    return _checked_residual(x, branches, filters, bias).output


@residual_conv2d.vjp
def _(
    residuals: Any, gy: Array, needs: tuple[bool, ...], *, factor: float, with_relu: bool
) -> tuple[Array | None, ...]:
    y, branches, filters, shape, input_gradient, filter_gradient = residuals
    g, sums = (gy, norm.channel_sums(gy)) if y is None else norm.relu_gradient_sums(y, gy)
    gbranches = gw = None  # the filters and their gradient are scaled, which are small
    if needs[1]:
        gbranches = input_gradient(g, elementwise.scale(filters, factor), shape)
    if needs[2]:
        gw = elementwise.scale(filter_gradient(branches, g, shape), factor)
    return g, gbranches, gw, sums * gy.dtype.type(factor)


@residual_conv2d.parts
def _(x: Any, branches: Any, filters: Any, bias: Any, *, factor: float, with_relu: bool) -> Tensor:
    y = add(x, scale(conv2d(branches, filters, bias), factor=factor))
    return relu(y) if with_relu else y
