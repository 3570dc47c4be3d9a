"""From logits to probabilities and losses."""

from typing import Any

import numpy as np

from minincep.autograd.op import op
from minincep_kernels import Array
from minincep_kernels.errors import ConfigError, ShapeError


def _check_logits(x: Array) -> tuple[int, ...]:
    if x.ndim != 2 or not x.shape[1]:
        raise ShapeError(f"softmax takes logits (N, classes), got {x.shape}")
    return x.shape


def _log_softmax(x: Array) -> Array:
    _check_logits(x)
    shifted = x - x.max(axis=1, keepdims=True)  # exp cannot overflow, and the result is the same
    logs: Array = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    return logs


@op
def log_softmax(x: Array) -> tuple[Array, Any]:
    """Logarithms of the probabilities: (N, classes) -> (N, classes).

    Raises
    ------
    ShapeError
        If x is not (N, classes).
    """
    y = _log_softmax(x)
    return y, (y,)


@log_softmax.shape
def _(x: Array) -> tuple[int, ...]:
    return _check_logits(x)


@log_softmax.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
    (y,) = residuals
    return (gy - np.exp(y) * np.sum(gy, axis=1, keepdims=True),)


@op
def softmax(x: Array) -> tuple[Array, Any]:
    """Probabilities: (N, classes) -> (N, classes), rows that sum to 1.

    Raises
    ------
    ShapeError
        If x is not (N, classes).
    """
    y = np.exp(_log_softmax(x))
    return y, (y,)


@softmax.shape
def _(x: Array) -> tuple[int, ...]:
    return _check_logits(x)


@softmax.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
    (y,) = residuals
    return (y * (gy - np.sum(gy * y, axis=1, keepdims=True)),)


@op(labels=int)
def softmax_cross_entropy(
    logits: Array,
    labels: Array,
    class_weights: Array | None = None,
    *,
    label_smoothing: float = 0.0,
) -> tuple[Array, Any]:
    """Mean loss over a batch: (N, classes), (N,) -> ().

    -sum_k q_k log p_k  with  q = (1 - s) onehot(label) + s / classes  (Szegedy et al. 2016,
    "Rethinking the Inception architecture", section 7, with s = 0.1).

    Parameters
    ----------
    labels
        Class of each row, whole numbers.
    class_weights
        (classes,): the loss of a row counts as much as its class, and the mean is the weighted one.
    label_smoothing
        s, from 0 to below 1.

    Raises
    ------
    ShapeError
        If the lengths disagree.
    ConfigError
        If a label is not a class, all rows weigh nothing, or s is out of range.
    """
    logs = _log_softmax(logits)
    rows, classes = logits.shape
    if rows == 0 or labels.shape != (rows,):
        raise ShapeError(
            f"softmax_cross_entropy: logits {logits.shape} need labels ({rows},), "
            f"got {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ConfigError(
            f"softmax_cross_entropy: labels must be from 0 to {classes - 1}, got {labels.min()} "
            f"to {labels.max()}"
        )
    if not 0 <= label_smoothing < 1:
        raise ConfigError(
            "softmax_cross_entropy: label_smoothing must be from 0 to below 1, got "
            f"{label_smoothing}"
        )
    weights = np.ones(rows, logits.dtype)
    if class_weights is not None:
        if class_weights.shape != (classes,):
            raise ShapeError(
                f"softmax_cross_entropy: class_weights must be ({classes},), got "
                f"{class_weights.shape}"
            )
        weights = class_weights[labels]
    if not weights.sum() > 0:
        raise ConfigError(
            "softmax_cross_entropy: class_weights make all rows of this batch weigh nothing"
        )
    weights = (weights / weights.sum()).astype(logits.dtype)

    target = np.full(logits.shape, label_smoothing / classes, logits.dtype)
    target[np.arange(rows), labels] += 1 - label_smoothing
    loss = -np.sum(weights * np.sum(target * logs, axis=1))
    return np.asarray(loss, logits.dtype), (logs, target, weights)


@softmax_cross_entropy.shape
def _(*_: Array | None, **static: Any) -> tuple[int, ...]:
    return ()


@softmax_cross_entropy.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...], **_: Any) -> tuple[Array | None, ...]:
    logs, target, weights = residuals
    gradient = gy * weights[:, None] * (np.exp(logs) - target)
    return gradient, None, None
