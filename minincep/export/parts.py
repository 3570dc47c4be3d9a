"""A file as its parts, one after the other; those with weights are made when they are written.

So the lengths are known before anything is copied, and no more than one array is in memory twice.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minincep.io.files import NewFile
from minincep_kernels import Array


@dataclass(frozen=True)
class Later:
    """Bytes whose number is known, and which are made when they are wanted."""

    size: int
    make: Callable[[], bytes | memoryview]


Part = bytes | Later


def numbers(array: Array) -> Later:
    """float32, little-endian, in C order: what safetensors and ONNX hold."""
    return Later(
        4 * array.size, lambda: np.ascontiguousarray(array, "<f4").reshape(-1).data.cast("B")
    )


def write_parts(path: Path, parts: Iterable[Part]) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    with NewFile(path) as new:
        for part in parts:
            new.write(part.make() if isinstance(part, Later) else part)
            new.check()
