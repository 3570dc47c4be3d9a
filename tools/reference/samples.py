"""Which elements of an array are kept, and how they are written.

Whole activations would be hundreds of megabytes.  A few hundred samples tell a right network
from a wrong one, if some of them sit where mistakes show: in corners and along borders, where a
wrong padding changes the result, and in the first and last element.
"""

import math
import zlib

import h5py
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Indices = npt.NDArray[np.int32]

BORDERS = 12  # samples along each of the four borders
COMPACT = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
WHOLE = 2048  # arrays up to this size are kept whole in the end-point files


def map_places(shape: tuple[int, ...], random: np.random.RandomState) -> list[int]:
    """Flat indices of corners and border places of (N, H, W, C), in random channels."""
    batch, height, width, channels = shape
    bottom, right = height - 1, width - 1
    places = [(y, x) for y in (0, bottom) for x in (0, right)]
    for _ in range(BORDERS):
        places += [(0, random.randint(width)), (bottom, random.randint(width))]
        places += [(random.randint(height), 0), (random.randint(height), right)]
    coordinates = [(random.randint(batch), y, x, random.randint(channels)) for y, x in places]
    return [int(np.ravel_multi_index(c, shape)) for c in coordinates]


def choose(name: str, shape: tuple[int, ...], count: int, *, is_map: bool) -> Indices:
    """Flat C-order indices of `count` samples (or of all elements, if fewer): -> (count,).

    Parameters
    ----------
    name
        Seeds the choice, so that it never depends on anything else.
    is_map
        Whether the array is (N, H, W, C), so that corners and borders mean something.
    """
    size = math.prod(shape)
    if size <= count:
        return np.arange(size, dtype=np.int32)
    random = np.random.RandomState(zlib.crc32(f"samples:{name}".encode()))
    chosen = {0, size - 1}
    if is_map:
        chosen.update(map_places(shape, random))
    while len(chosen) < count:
        chosen.add(int(random.randint(size)))
    return np.array(sorted(chosen), np.int32)


def choose_in_end_point(name: str, shape: tuple[int, ...]) -> Indices:
    """256 samples of an end point, or all of a small one."""
    count = 256 if math.prod(shape) > WHOLE else WHOLE
    return choose(name, shape, count, is_map=len(shape) == 4)


def shortened(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Values rounded to 36 bits (11 digits), so that a quarter of the bytes are zero and pack."""
    mantissa, exponent = np.frexp(values)
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, 36)), exponent - 36))


def write(group: h5py.Group, index: Indices, values: Floats) -> None:
    """Datasets `index` (int32) and `values` (float64) of one array."""
    kept = shortened(values.ravel()[index].astype(np.float64))
    group.create_dataset("index", data=index, **COMPACT)
    group.create_dataset("values", data=kept, **COMPACT)


def new_file(path: str) -> h5py.File:
    """An empty HDF5 file in the compact format of 2018 (HDF5 1.10 and later read it)."""
    return h5py.File(path, "w", libver=("v110", "v110"))
