"""Losses on embeddings: alike for pictures of one class, unlike for those of two."""

from typing import Any

import numpy as np

from minincep.autograd.op import op
from minincep_kernels import Array
from minincep_kernels.errors import ConfigError, ShapeError


def _check(name: str, embeddings: Array, labels: Array) -> None:
    if embeddings.ndim != 2 or not embeddings.size or labels.shape != embeddings.shape[:1]:
        raise ShapeError(
            f"{name} takes embeddings (N, C) and labels (N,), got {embeddings.shape} and "
            f"{labels.shape}"
        )


@op(labels=int)
def centre_loss(embeddings: Array, centres: Array, labels: Array) -> tuple[Array, Any]:
    """How far embeddings are from the centres of their classes: (N, C), (classes, C), (N,) -> ().

    The mean over all numbers of (embedding - centre)^2, as facenet has it.  Wen et al. 2016, "A
    discriminative feature learning approach for deep face recognition", equation 2, have N C / 2
    times as much.

    Raises
    ------
    ShapeError
        If the lengths disagree.
    ConfigError
        If a label is not a class.
    """
    _check("centre_loss", embeddings, labels)
    if centres.ndim != 2 or centres.shape[1] != embeddings.shape[1]:
        raise ShapeError(
            f"centre_loss: embeddings {embeddings.shape} need centres (classes, "
            f"{embeddings.shape[1]}), got {centres.shape}"
        )
    if labels.min() < 0 or labels.max() >= len(centres):
        raise ConfigError(
            f"centre_loss: labels must be from 0 to {len(centres) - 1}, got {labels.min()} to "
            f"{labels.max()}"
        )
    difference = embeddings - centres[labels]
    return np.mean(difference * difference), (difference, labels, len(centres))


@centre_loss.shape
def _(*_: Array) -> tuple[int, ...]:
    return ()


@centre_loss.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
    difference, labels, classes = residuals
    gradient = difference * (gy * 2 / difference.size).astype(difference.dtype)
    of_centres = None
    if needs[1]:
        of_centres = np.zeros((classes, difference.shape[1]), difference.dtype)
        np.subtract.at(of_centres, labels, gradient)
    return (gradient if needs[0] else None), of_centres, None


@op(labels=int)
def triplet_loss(embeddings: Array, labels: Array, *, margin: float = 0.2) -> tuple[Array, Any]:
    """Semi-hard triplets of a batch: (N, C), (N,) -> ().

    Mean over all pairs of an anchor a and a positive p, two rows of one class in either order, of
    max(0, |a - p|^2 - |a - n|^2 + margin)  (Schroff et al. 2015, "FaceNet", section 3.1).  The
    negative n of a pair is the nearest to a of the rows of other classes that are farther from a
    than p is; where none is farther, the farthest of them all.  So it is semi-hard (farther than
    p, but by less than the margin) if the batch has such a row; if it is farther by more, the pair
    costs nothing; and if all negatives are nearer than p, the least wrong one teaches.

    A batch without a pair, or of one class only, costs nothing.

    Parameters
    ----------
    labels
        Class of each row, whole numbers.
    margin
        By how much a negative should be farther than a positive, at least 0.

    Raises
    ------
    ShapeError
        If the lengths disagree.
    ConfigError
        If the margin is out of range.
    """
    _check("triplet_loss", embeddings, labels)
    if not 0 <= margin < np.inf:
        raise ConfigError(f"triplet_loss: margin must be a number of at least 0, got {margin}")
    distances = _square_distances(embeddings)
    slopes = np.zeros_like(distances)  # how the sum of costs grows with each distance
    total, pairs = 0.0, 0
    for anchor, distance in enumerate(distances):
        alike = labels == labels[anchor]
        negatives = np.flatnonzero(~alike)
        alike[anchor] = False
        positives = np.flatnonzero(alike)
        if not len(negatives) or not len(positives):
            continue
        negatives = negatives[np.argsort(distance[negatives], kind="stable")]
        farther = np.searchsorted(distance[negatives], distance[positives], side="right")
        chosen = negatives[np.minimum(farther, len(negatives) - 1)]
        costs = distance[positives] - distance[chosen] + margin
        total += np.maximum(costs, 0).sum()
        pairs += len(positives)
        active = (costs > 0).astype(np.float64)
        slopes[anchor, positives] += active
        np.subtract.at(slopes[anchor], chosen, active)
    slopes /= max(pairs, 1)
    return np.asarray(total / max(pairs, 1), embeddings.dtype), (embeddings, slopes)


@triplet_loss.shape
def _(*_: Array, **static: Any) -> tuple[int, ...]:
    return ()


@triplet_loss.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...], **_: Any) -> tuple[Array | None, ...]:
    embeddings, slopes = residuals
    # |a - b|^2 grows by 2 (a - b) along a, and by as much less along b.
    both = slopes + slopes.T
    x = embeddings.astype(np.float64)
    gradient = 2 * gy * (both.sum(axis=1, keepdims=True) * x - both @ x)
    return gradient.astype(embeddings.dtype), None


def _square_distances(x: Array) -> Array:
    """Squared distance of each row from each: (N, C) -> (N, N), float64."""
    x = x.astype(np.float64)  # |a|^2 + |b|^2 - 2 a b of neighbours cancels nearly all digits
    squares = np.sum(x * x, axis=1)
    distances: Array = np.maximum(squares[:, None] + squares[None] - 2 * (x @ x.T), 0)
    return distances
