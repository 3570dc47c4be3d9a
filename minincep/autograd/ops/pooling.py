"""Pooling: windows, and the whole image."""

from typing import Any

from minincep.autograd.op import op
from minincep_kernels import Array, pool
from minincep_kernels.errors import ShapeError
from minincep_kernels.registry import choose
from minincep_kernels.shapes import Padding, Pool2dShape, pool2d_shape


def _checked(
    x: Array, kernel_size: tuple[int, int], stride: tuple[int, int], padding: Padding
) -> Pool2dShape:
    shape = pool2d_shape(x.shape, kernel_size, stride, padding)
    top, bottom, left, right = shape.padding
    if max(top, bottom) >= kernel_size[0] or max(left, right) >= kernel_size[1]:
        raise ShapeError(
            f"padding {shape.padding} must be smaller than the window of "
            f"{kernel_size[0]} x {kernel_size[1]}"
        )
    return shape


def _pixel(x: Array) -> tuple[int, ...]:
    if x.ndim != 4 or 0 in x.shape[1:3]:
        raise ShapeError(f"global_avg_pool2d takes (N, H, W, C) with pixels, got {x.shape}")
    return (x.shape[0], 1, 1, x.shape[3])


@op
def max_pool2d(
    x: Array,
    *,
    kernel_size: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding = "valid",
) -> tuple[Array, Any]:
    """Largest value of each window: (N, H, W, C) -> (N, OH, OW, C).  Padding never wins.

    Raises
    ------
    ShapeError
        If x is not (N, H, W, C), the window is larger than the padded image, or padding is as
        wide as the window, which could then see padding alone.
    """
    shape = _checked(x, kernel_size, stride, padding)
    y, place = choose("max_pool2d", shape).forward(x, shape)
    return y, (place, shape)


@max_pool2d.shape
def _(
    x: Array, *, kernel_size: tuple[int, int], stride: tuple[int, int], padding: Padding
) -> tuple[int, ...]:
    return _checked(x, kernel_size, stride, padding).output


@max_pool2d.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...], **_: Any) -> tuple[Array | None, ...]:
    place, shape = residuals
    return (pool.max_backward(gy, place, shape),)


@op
def avg_pool2d(
    x: Array,
    *,
    kernel_size: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding = "valid",
) -> tuple[Array, Any]:
    """Mean of each window, padding not counted: (N, H, W, C) -> (N, OH, OW, C).

    Raises
    ------
    ShapeError
        If x is not (N, H, W, C), the window is larger than the padded image, or padding is as
        wide as the window, which could then see padding alone.
    """
    shape = _checked(x, kernel_size, stride, padding)
    return choose("avg_pool2d", shape).forward(x, shape), (shape,)


@avg_pool2d.shape
def _(
    x: Array, *, kernel_size: tuple[int, int], stride: tuple[int, int], padding: Padding
) -> tuple[int, ...]:
    return _checked(x, kernel_size, stride, padding).output


@avg_pool2d.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...], **_: Any) -> tuple[Array | None, ...]:
    (shape,) = residuals
    return (pool.average_backward(gy, shape),)


@op
def global_avg_pool2d(x: Array) -> tuple[Array, Any]:
    """Mean of all pixels: (N, H, W, C) -> (N, 1, 1, C).

    Raises
    ------
    ShapeError
        If x is not (N, H, W, C), or has no pixels.
    """
    _pixel(x)
    return pool.global_average_forward(x), (x.shape,)


@global_avg_pool2d.shape
def _(x: Array) -> tuple[int, ...]:
    return _pixel(x)


@global_avg_pool2d.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
    (shape,) = residuals
    return (pool.global_average_backward(gy, shape),)
