"""Layers that Keras numbers: `conv2d_17`, in the order in which they were made.

That order is the order of our paths, for everybody has written the branches of the figures from
left to right.  The numbers begin anywhere: Keras 2.2 begins with conv2d_1, later ones with conv2d,
and a second network in the same session goes on where the first ended.  So the layers of a kind are
sorted by number; their count and the shape of each array then prove the match.
"""

import re
from collections.abc import Iterable, Sequence

from minincep.io.names.keras_facenet import KINDS

CONVOLUTION = "conv2d"
NORM = r"batch_normalization(?:_v\d)?"  # TensorFlow 1.13 wrote batch_normalization_v1_5
DENSE = "dense"


def unit_of(path: str) -> str:
    """The convolution with batch norm that an array belongs to; "" if to none."""
    return path.partition("/batch_norm/")[0] if "/batch_norm/" in path else ""


def units_of(paths: Iterable[str]) -> list[str]:
    """The convolutions with batch norm, in the order of the network."""
    return list(dict.fromkeys(unit for path in paths if (unit := unit_of(path))))


def numbered(names: Iterable[str], kind: str, count: int) -> list[str]:
    """The layers of a kind (a regular expression) among these names, as many as there should be.

    If there are more or fewer in the file, the numbers from the first on, so that a report can say
    which one is missing.
    """
    found: dict[int, str] = {}
    for name in names:
        layer = name.partition("/")[0]
        match = re.fullmatch(rf"{kind}(?:_(\d{{1,9}}))?", layer)
        if match:
            found[int(match[1] or 0)] = layer
    if len(found) == count:
        return [found[number] for number in sorted(found)]
    first = min(found, default=0)
    plain = re.sub(r"_\d+$", "", found[first]) if found else kind.partition("(")[0]
    return [f"{plain}_{n}" if n else plain for n in range(first, first + count)]


def unit_names(
    paths: Iterable[str], units: Sequence[str], convolutions: Sequence[str], norms: Sequence[str]
) -> dict[str, str]:
    """Path -> `<layer>/<kind>` for the arrays of units, the layers being those of the units."""
    layers = dict(zip(units, zip(convolutions, norms, strict=True), strict=True))
    named = {}
    for path in paths:
        unit = unit_of(path) or path.rpartition("/")[0]
        if unit in layers:
            convolution, norm = layers[unit]
            leaf = path.removeprefix(f"{unit}/")
            named[path] = f"{convolution if leaf == 'weight' else norm}/{KINDS[leaf]}"
    return named
