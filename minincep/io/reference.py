"""Reference weights and pictures that both sides of a comparison can make for themselves.

Checking a network against an independent implementation needs the same 50 million weights on
both sides.  Instead of storing them, both sides draw them by the rule below: every array from
`numpy.random.RandomState` (whose streams never change) seeded by the array's own path.  Only the
batch-norm statistics cannot be drawn: they are calibrated by a training-mode pass of the
independent implementation and stored beside its outputs.

The rule is chosen with care.  With gamma = 1 and beta near 0 a random network of this depth is
chaotic: rounding errors grow from layer to layer until no tolerance separates a right network
from a wrong one.  A beta of about one keeps most units active, and the error small.

This module needs NumPy only, so the scripts in `tools/` can import it beside any framework.
"""

import math
import zlib

import numpy as np
import numpy.typing as npt


def draw(path: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """The reference array that belongs to a path: () -> shape.

    Parameters
    ----------
    path
        Path of the array, such as ``mixed_5b/branch_0/conv2d_0a_1x1/weight``.
    shape
        Filters (KH, KW, C, OC), dense weights (in, out), everything else (channels,).

    Raises
    ------
    ValueError
        For running statistics, which are calibrated, not drawn, and for unknown names.
    """
    random = np.random.RandomState(zlib.crc32(path.encode()))
    match path.rpartition("/")[2]:
        case "weight":  # He et al. 2015, equation 10: keeps the variance through a ReLU
            values = random.standard_normal(shape) * math.sqrt(2.0 / math.prod(shape[:-1]))
        case "bias":
            values = random.standard_normal(shape) * 0.1
        case "gamma":
            values = random.uniform(0.7, 1.3, shape)
        case "beta":
            values = random.uniform(0.5, 1.5, shape)
        case name:
            raise ValueError(f"no rule draws an array called {name!r} (at {path!r})")
    return values.astype(np.float32)


def picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A picture without any symmetry, in integer arithmetic: () -> (H, W, 3), 0 to 255.

    Two slopes, a few rectangles and noise, different in each channel: flips, transposes and
    swapped channels all change it, and it has edges as well as flat places.
    """
    random = np.random.RandomState(seed)
    y, x = np.mgrid[0:height, 0:width]
    canvas = np.empty((height, width, 3), np.int64)
    for channel, (down, right) in enumerate([(3, 1), (1, 4), (5, 2)]):
        canvas[..., channel] = (down * y + right * x) * 200 // (down * height + right * width)
    for _ in range(12):
        top, left = random.randint(0, height), random.randint(0, width)
        bottom = top + random.randint(1, height // 2 + 1)
        right = left + random.randint(1, width // 3 + 1)
        canvas[top:bottom, left:right] += random.randint(-120, 121, 3)
    canvas += random.randint(-12, 13, canvas.shape)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def scaled(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Grey levels 0 to 255 -> -1 to 1, in float32, as all the released networks want them."""
    return pictures.astype(np.float32) / np.float32(127.5) - np.float32(1.0)
