"""Normalisation: of channels over a batch, and of vectors to length 1."""

from typing import Any

import numpy as np

from minincep.autograd.op import op
from minincep.autograd.ops.activation import relu
from minincep.autograd.tensor import Tensor
from minincep_kernels import Array, norm
from minincep_kernels.errors import ShapeError
from minincep_kernels.registry import choose
from minincep_kernels.shapes import normalize_shape


def _check_batch_norm(x: Array, **arrays: Array | None) -> None:
    if not x.ndim or not x.shape[-1]:
        raise ShapeError(f"batch_norm takes (..., C) with at least one channel, got {x.shape}")
    for name, array in arrays.items():
        if array is not None and array.shape != x.shape[-1:]:
            raise ShapeError(
                f"batch_norm: x {x.shape} needs {name} of shape ({x.shape[-1]},), got {array.shape}"
            )


def _check_rows(x: Array) -> None:
    if x.ndim != 2:
        raise ShapeError(f"l2_normalize takes (N, C), got {x.shape}")


@op
def batch_norm(
    x: Array,
    gamma: Array | None,
    beta: Array,
    mean: Array,
    variance: Array,
    *,
    eps: float,
    of_batch: bool,
) -> tuple[Array, Any]:
    """Gamma (x - mean) / sqrt(variance + eps) + beta: (..., C), 4 x (C,) -> (..., C).

    Ioffe and Szegedy 2015, algorithms 1 (of_batch) and 2.

    Parameters
    ----------
    gamma
        None means 1: the released weights have none.
    mean, variance
        The statistics to normalise with; no gradient flows into them as inputs.
    of_batch
        Whether mean and variance are those of x itself (`norm.moments`, biased variance).  The
        gradient of x then follows x through them; else they are constants.

    Raises
    ------
    ShapeError
        If x has no channels, or an array has not one number for each.
    """
    return _batch_norm(x, gamma, beta, mean, variance, eps, of_batch, with_relu=False)


@op
def batch_norm_relu(
    x: Array,
    gamma: Array | None,
    beta: Array,
    mean: Array,
    variance: Array,
    *,
    eps: float,
    of_batch: bool,
) -> tuple[Array, Any]:
    """Relu(batch_norm(x, ...)) in one pass over memory: (..., C), 4 x (C,) -> (..., C)."""
    return _batch_norm(x, gamma, beta, mean, variance, eps, of_batch, with_relu=True)


def _batch_norm(
    x: Array,
    gamma: Array | None,
    beta: Array,
    mean: Array,
    variance: Array,
    eps: float,
    of_batch: bool,
    *,
    with_relu: bool,
) -> tuple[Array, Any]:
    _check_batch_norm(x, gamma=gamma, beta=beta, mean=mean, variance=variance)
    shape = normalize_shape(x.shape, relu=with_relu)
    table = norm.channel_table(gamma, beta, mean, variance, eps)
    rows = x.reshape(shape.input)
    y = choose("normalize", shape).forward(rows, table[:3], shape).reshape(x.shape)
    kept = x
    if with_relu and gamma is None and not of_batch:
        # All that is wanted is where the ReLU let through, and y says that as well as x.  The layer
        # that reads y keeps it anyway; then nobody keeps x.
        kept = y
        table[:3] = [[0], [1], [0]]
    return y, (kept, table, shape)


def _batch_norm_gradients(
    residuals: Any, gy: Array, needs: tuple[bool, ...], *, eps: float, of_batch: bool
) -> tuple[Array | None, ...]:
    x, table, shape = residuals
    weights = needs[1] or needs[2]
    sums, gx = norm.backward(
        x, gy, table, shape, of_batch=of_batch, sums=weights, gradient=needs[0]
    )
    ggamma = (sums[1] * table[4]).astype(x.dtype) if needs[1] else None
    gbeta = sums[0].astype(x.dtype) if needs[2] else None
    return gx if needs[0] else None, ggamma, gbeta, None, None


def _batch_norm_shape(
    x: Array, gamma: Array | None, beta: Array, mean: Array, variance: Array, **_: Any
) -> tuple[int, ...]:
    _check_batch_norm(x, gamma=gamma, beta=beta, mean=mean, variance=variance)
    return x.shape


for _op in (batch_norm, batch_norm_relu):
    _op.shape(_batch_norm_shape)
    _op.vjp(_batch_norm_gradients)


@batch_norm_relu.parts
def _(*inputs: Any, **static: Any) -> Tensor:
    return relu(batch_norm(*inputs, **static))


@op
def l2_normalize(x: Array, *, eps: float = 1e-10) -> tuple[Array, Any]:
    """Each row divided by its length: (N, C) -> (N, C).

    The squared length is taken as at least `eps`, as TensorFlow has it, so that a row of zeros
    stays one.

    Raises
    ------
    ShapeError
        If x is not (N, C).
    """
    _check_rows(x)
    squares = np.sum(x * x, axis=1, keepdims=True)
    inverse = 1 / np.sqrt(np.maximum(squares, np.asarray(eps, x.dtype)))
    y = x * inverse
    return y, (y, inverse, squares > eps)


@l2_normalize.shape
def _(x: Array, *, eps: float) -> tuple[int, ...]:
    _check_rows(x)
    return x.shape


@l2_normalize.vjp
def _(
    residuals: Any, gy: Array, needs: tuple[bool, ...], *, eps: float
) -> tuple[Array | None, ...]:
    y, inverse, above = residuals
    along = np.sum(gy * y, axis=1, keepdims=True)  # the part of gy that would change the length
    return ((gy - y * along * above) * inverse,)
