"""What a linear classifier makes of the same pictures: a task is only hard if this one fails.

Ridge regression on the label, -1 or 1. Its strength and the features are chosen on a part of the
training pictures that was held back; the test pictures are looked at once.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Values = npt.NDArray[np.floating[Any]]

STRENGTHS = tuple(float(10.0**power) for power in range(-4, 5))


def pixels(images: Images, side: int) -> Values:
    """Pictures shrunk to side x side by averaging, as rows. -> (N, 3 * side**2)."""
    shape = (side, side)
    small = [Image.fromarray(i).resize(shape, Image.Resampling.BOX) for i in images]
    return np.stack([np.asarray(image, np.float32).ravel() / 255 for image in small])


def slopes(images: Images) -> Values:
    """Histogram of how steep the brightness is, over the whole picture: no pixels. -> (N, 32)."""
    rows = []
    for image in images:
        dy, dx = np.gradient(image.mean(2))
        counts, _ = np.histogram(np.log1p(np.hypot(dx, dy)), 32, (0.0, 5.0))
        rows.append(np.sqrt(counts / counts.sum()))
    return np.array(rows)


class Ridge:
    """Ridge regression on standardised features; one decomposition serves all strengths."""

    def __init__(self, features: Values, labels: Labels) -> None:
        self.mean, self.spread = features.mean(0), features.std(0) + 1e-6
        rows = (features - self.mean) / self.spread
        target = 2.0 * labels - 1
        self.offset = target.mean()
        self.values, self.vectors = np.linalg.eigh(rows.T @ rows / len(rows))
        self.slope = self.vectors.T @ (rows.T @ (target - self.offset) / len(rows))

    def accuracy(self, features: Values, labels: Labels, strength: float) -> float:
        """Share of right answers; `strength` is relative to the variance of one feature, 1."""
        weights = self.vectors @ (self.slope / (np.maximum(self.values, 0) + strength))
        answers = (features - self.mean) / self.spread @ weights + self.offset
        return float(np.mean((answers > 0) == (labels == 1)))


def linear_classifiers(
    train: tuple[Images, Labels], tests: Sequence[tuple[Images, Labels]]
) -> dict[str, dict[str, Any]]:
    """Accuracy on each test of the best linear classifier on pixels, and of one on slopes."""
    makers: dict[str, list[Callable[[Images], Values]]] = {
        "pixels": [partial(pixels, side=side) for side in (8, 16, 32)],
        "slopes": [slopes],
    }
    results: dict[str, dict[str, Any]] = {}
    images, labels = train
    held = len(images) // 4
    for name, candidates in makers.items():
        tried = []
        for maker in candidates:
            features = maker(images)
            ridge = Ridge(features[held:], labels[held:])
            scores = [ridge.accuracy(features[:held], labels[:held], s) for s in STRENGTHS]
            tried.append((max(scores), STRENGTHS[int(np.argmax(scores))], maker, features))
        validation, strength, maker, features = max(tried, key=lambda t: t[0])
        ridge = Ridge(features, labels)
        results[name] = {
            "numbers per picture": features.shape[1],
            "strength": strength,
            "validation": validation,
            "tests": [ridge.accuracy(maker(x), y, strength) for x, y in tests],
        }
    return results
