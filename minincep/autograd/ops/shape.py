"""Putting arrays together, giving them another shape, taking means."""

from typing import Any

import numpy as np

from minincep.autograd.op import op
from minincep.autograd.tensor import Part
from minincep_kernels import Array, elementwise
from minincep_kernels.errors import ShapeError


def _joined(parts: tuple[Array, ...]) -> tuple[int, ...]:
    if (
        not parts
        or not parts[0].ndim
        or any(part.shape[:-1] != parts[0].shape[:-1] for part in parts)
    ):
        raise ShapeError(
            "concat: parts must agree in all axes but the last, got "
            f"{', '.join(str(part.shape) for part in parts) or 'no part'}"
        )
    return (*parts[0].shape[:-1], sum(part.shape[-1] for part in parts))


def _reshaped(x: Array, shape: tuple[int, ...]) -> Array:
    try:
        return x.reshape(shape)
    except (TypeError, ValueError) as error:
        raise ShapeError(f"reshape: {x.size} elements of shape {x.shape} to {shape}") from error


def _check_some(x: Array) -> None:
    if not x.size:
        raise ShapeError(f"mean of an array without elements, {x.shape}")


@op
def concat(*parts: Array) -> tuple[Array, Any]:
    """Channels side by side: (..., C1), (..., C2), ... -> (..., C1 + C2 + ...).

    Raises
    ------
    ShapeError
        If there is no part, one has no axes, or they differ in an axis other than the last.
    """
    _joined(parts)
    return elementwise.concat(parts), tuple(part.shape[-1] for part in parts)


@concat.shape
def _(*parts: Array) -> tuple[int, ...]:
    return _joined(parts)


@concat.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
    return tuple(elementwise.split(gy, residuals))


def _chosen(x: Array, first: int, last: int) -> tuple[int, ...]:
    if not x.ndim or not 0 <= first < last <= x.shape[-1]:
        raise ShapeError(f"channels {first} to {last} of an array {x.shape}: there are none")
    return (*x.shape[:-1], last - first)


@op
def channels(x: Array, *, first: int, last: int) -> tuple[Array, Any]:
    """Some channels, from the first to below the last: (..., C) -> (..., last - first), a view.

    Raises
    ------
    ShapeError
        If x has not all of them, or there would be none.
    """
    _chosen(x, first, last)
    return x[..., first:last], (x.shape[-1],)


@channels.shape
def _(x: Array, *, first: int, last: int) -> tuple[int, ...]:
    return _chosen(x, first, last)


@channels.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...], *, first: int, last: int) -> tuple[Part]:
    (all_channels,) = residuals
    return (Part(gy, first, all_channels),)


@op
def reshape(x: Array, *, shape: tuple[int, ...]) -> tuple[Array, Any]:
    """The same numbers in another shape; one length may be -1.

    Raises
    ------
    ShapeError
        If the number of elements differs, or `shape` is none.
    """
    return _reshaped(x, shape), (x.shape,)


@reshape.shape
def _(x: Array, *, shape: tuple[int, ...]) -> tuple[int, ...]:
    return _reshaped(x, shape).shape


@reshape.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...], **_: Any) -> tuple[Array | None, ...]:
    (shape,) = residuals
    return (gy.reshape(shape),)


@op
def mean(x: Array) -> tuple[Array, Any]:
    """Mean of all elements: any shape -> ().

    Raises
    ------
    ShapeError
        If there are none.
    """
    _check_some(x)
    return np.asarray(x.mean(dtype=np.float64), x.dtype), (x.shape,)


@mean.shape
def _(x: Array) -> tuple[int, ...]:
    _check_some(x)
    return ()


@mean.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
    (shape,) = residuals
    return (np.full(shape, gy / np.prod(shape), gy.dtype),)
