"""Sums and products."""

from typing import Any

import numpy as np

from minincep.autograd.op import op
from minincep_kernels import Array, elementwise, norm
from minincep_kernels.errors import ShapeError


def _broadcast(name: str, a: Array, b: Array) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise ShapeError(f"{name}: {a.shape} and {b.shape} do not broadcast") from None


def _check_bias(x: Array, bias: Array) -> None:
    if not x.ndim or bias.shape != x.shape[-1:]:
        raise ShapeError(f"add_bias: x {x.shape} needs a bias {x.shape[-1:]}, got {bias.shape}")


def _product(a: Array, b: Array) -> tuple[int, int]:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ShapeError(f"matmul takes (M, K) and (K, N), got {a.shape} and {b.shape}")
    return a.shape[0], b.shape[1]


@op
def add(a: Array, b: Array) -> tuple[Array, Any]:
    """a + b, broadcast: (...) -> (...).

    Raises
    ------
    ShapeError
        If the shapes do not broadcast.
    """
    _broadcast("add", a, b)
    return elementwise.add(a, b) if a.shape == b.shape else a + b, ()


@add.shape
def _(a: Array, b: Array) -> tuple[int, ...]:
    return _broadcast("add", a, b)


@add.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
    return gy, gy


@op
def multiply(a: Array, b: Array) -> tuple[Array, Any]:
    """a b, element by element, broadcast: (...) -> (...).

    Raises
    ------
    ShapeError
        If the shapes do not broadcast.
    """
    _broadcast("multiply", a, b)
    return a * b, (a, b)


@multiply.shape
def _(a: Array, b: Array) -> tuple[int, ...]:
    return _broadcast("multiply", a, b)


@multiply.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
    a, b = residuals
    return (gy * b if needs[0] else None), (gy * a if needs[1] else None)


@op
def scale(x: Array, *, factor: float) -> tuple[Array, Any]:
    """x times a constant: any shape -> same shape."""
    return elementwise.scale(x, factor), ()


@scale.vjp
def _(
    residuals: Any, gy: Array, needs: tuple[bool, ...], *, factor: float
) -> tuple[Array | None, ...]:
    return (elementwise.scale(gy, factor),)


@op
def add_bias(x: Array, bias: Array) -> tuple[Array, Any]:
    """One number added to each channel: (..., C), (C,) -> (..., C).

    Raises
    ------
    ShapeError
        If `bias` is not one number for each channel of x.
    """
    _check_bias(x, bias)
    return x + bias, ()


@add_bias.shape
def _(x: Array, bias: Array) -> tuple[int, ...]:
    _check_bias(x, bias)
    return x.shape


@add_bias.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
    return gy, (norm.channel_sums(gy) if needs[1] else None)


@op
def matmul(a: Array, b: Array) -> tuple[Array, Any]:
    """Matrix product: (M, K), (K, N) -> (M, N).

    Raises
    ------
    ShapeError
        If a or b is not a matrix, or their inner lengths differ.
    """
    _product(a, b)
    return a @ b, (a, b)


@matmul.shape
def _(a: Array, b: Array) -> tuple[int, ...]:
    return _product(a, b)


@matmul.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
    a, b = residuals
    return (gy @ b.T if needs[0] else None), (a.T @ gy if needs[1] else None)
