"""Element by element: bound by memory, so each is one pass over it, on all threads."""

import numpy as np
from numba import prange

from minincep_kernels import Array
from minincep_kernels.jit import kernel


@kernel
def _relu(x: Array, out: Array) -> None:
    for i in prange(x.size):
        value = x[i]
        out[i] = 0 if value < 0 else value  # so that a nan stays a nan


@kernel
def _relu_gradient(y: Array, gy: Array, out: Array) -> None:
    for i in prange(y.size):
        out[i] = gy[i] if y[i] > 0 else 0


@kernel
def _add(a: Array, b: Array, out: Array) -> None:
    for i in prange(a.size):
        out[i] = a[i] + b[i]


@kernel
def _scale(x: Array, factor: Array, out: Array) -> None:
    for i in prange(x.size):
        out[i] = x[i] * factor[0]


def relu(x: Array) -> Array:
    """max(x, 0), any shape -> same shape; a nan stays a nan."""
    y = np.empty(x.shape, x.dtype)
    _relu(x.reshape(-1), y.reshape(-1))
    return y


def relu_gradient(y: Array, gy: Array) -> Array:
    """gy where y > 0, else 0, with y the result of `relu`."""
    gx = np.empty(y.shape, y.dtype)
    _relu_gradient(y.reshape(-1), gy.reshape(-1), gx.reshape(-1))
    return gx


def add(a: Array, b: Array) -> Array:
    """a + b, both of one shape."""
    y = np.empty(a.shape, a.dtype)
    _add(a.reshape(-1), b.reshape(-1), y.reshape(-1))
    return y


def scale(x: Array, factor: float) -> Array:
    """x times one number, rounded to the dtype of x first."""
    y = np.empty(x.shape, x.dtype)
    _scale(x.reshape(-1), np.array([factor], x.dtype), y.reshape(-1))
    return y
