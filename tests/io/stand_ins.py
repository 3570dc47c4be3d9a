"""Full-size sources that are in no file: an array is made when it is read."""

import contextlib
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from minincep.io.formats import detect
from minincep.io.formats.stored import Stored
from minincep_kernels import Array


def numbers(name: str, shape: tuple[int, ...]) -> Array:
    """Numbers that begin by the name and grow: no two arrays are alike, nor two places in one."""
    flat = np.arange(math.prod(shape), dtype=np.float32)
    flat *= 1e-6
    flat += zlib.crc32(name.encode()) % 1000 / 1e3
    return flat.reshape(shape)


def nothing(name: str, shape: tuple[int, ...]) -> Array:
    """Zeros, which take less time."""
    return np.zeros(shape, np.float32)


def stand_in(
    shapes: Mapping[str, tuple[int, ...]], read: Callable[[str, tuple[int, ...]], Array] = numbers
) -> dict[str, Stored]:
    """What a reader gives for a file that holds these arrays."""
    return {
        name: Stored(shape, "float32", 4 * math.prod(shape), partial(read, name, shape))
        for name, shape in shapes.items()
    }


def use(monkeypatch: pytest.MonkeyPatch, arrays: Mapping[str, Stored]) -> None:
    """Let every file hold these arrays."""

    @contextlib.contextmanager
    def opened(_: Path) -> Iterator[Mapping[str, Stored]]:
        yield arrays

    monkeypatch.setattr(detect, "arrays", opened)
    monkeypatch.setattr(detect, "reader", lambda _: "stand-in")
