"""Putting arrays together, giving them another shape, taking means."""

from typing import Any

import numpy as np

from minincep.autograd.op import op
from minincep_kernels import Array
from minincep_kernels.errors import ShapeError


@op
def concat(*parts: Array) -> tuple[Array, Any]:
    """Channels side by side: (..., C1), (..., C2), ... -> (..., C1 + C2 + ...).

    Raises
    ------
    ShapeError
        If there is no part, one has no axes, or they differ in an axis other than the last.
    """
    if (
        not parts
        or not parts[0].ndim
        or any(part.shape[:-1] != parts[0].shape[:-1] for part in parts)
    ):
        raise ShapeError(
            "concat: parts must agree in all axes but the last, got "
            f"{', '.join(str(part.shape) for part in parts) or 'no part'}"
        )
    ends = tuple(int(end) for end in np.cumsum([part.shape[-1] for part in parts]))
    return np.concatenate(parts, axis=-1), (ends,)


@concat.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
    (ends,) = residuals
    pieces = np.split(gy, ends[:-1], axis=-1)
    return tuple(np.ascontiguousarray(piece) for piece in pieces)


@op
def reshape(x: Array, *, shape: tuple[int, ...]) -> tuple[Array, Any]:
    """The same numbers in another shape; one length may be -1.

    Raises
    ------
    ShapeError
        If the number of elements differs, or `shape` is none.
    """
    try:
        return x.reshape(shape), (x.shape,)
    except (TypeError, ValueError) as error:
        raise ShapeError(f"reshape: {x.size} elements of shape {x.shape} to {shape}") from error


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
    if not x.size:
        raise ShapeError(f"mean of an array without elements, {x.shape}")
    return np.asarray(x.mean(dtype=np.float64), x.dtype), (x.shape,)


@mean.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
    (shape,) = residuals
    return (np.full(shape, gy / np.prod(shape), gy.dtype),)
