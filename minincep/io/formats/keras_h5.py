"""Keras 2 HDF5 files, whole models and weights alone.

An array is at `<layer>/<layer>/kernel:0`, in a whole model below `model_weights`.  Keras 3 writes
such files, too, without the `:0`.  Only arrays are looked at.  The description of the model beside
them may hold marshalled code (Lambda layers); it is never read.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from minincep.io.errors import WeightError
from minincep.io.formats.numbers import NUMBER_BYTES, as_float32, check_shape
from minincep.io.formats.stored import Stored, check_size
from minincep.io.hdf5 import attribute, check_numbers, datasets, open_file, read
from minincep_kernels import Array


@contextmanager
def arrays(path: Path) -> Iterator[dict[str, Stored]]:
    """Arrays by layer and kind, such as ``Bottleneck/kernel``; none of them read.

    Raises
    ------
    WeightError
        If the file is missing or no HDF5 file, claims more than it can hold, a link leads
        elsewhere, or two arrays have one name.
    """
    with open_file(path) as file:
        with reading(path):
            found = _named(path, file)
        check_size(path, found.values())
        yield found


def _named(path: Path, file: h5py.File) -> dict[str, Stored]:
    everything = datasets(path, file)
    whole_model = any(name.startswith("model_weights/") for name in everything)
    found: dict[str, Stored] = {}
    for name, dataset in everything.items():
        if whole_model and not name.startswith("model_weights/"):
            continue  # state of the optimiser
        layer, _, kind = name.rpartition("/")
        short = f"{layer.rpartition('/')[2]}/{kind.partition(':')[0]}"
        if short in found:
            raise WeightError(
                f"{path}: two arrays are called {short!r:.200}, one of them {name!r:.200}"
            )
        found[short] = stored(path, short, dataset)
    return found


def stored(path: Path, name: str, dataset: h5py.Dataset) -> Stored:
    """An array of an open HDF5 file.

    Raises
    ------
    WeightError
        If it is damaged, or there can be no such array.
    """
    with reading(path):
        shape, dtype = dataset.shape, dataset.dtype
        if shape is None:
            raise WeightError(f"{path}: {name!r:.200} has no shape; get the file again")
        shape = check_shape(path, name, shape)
        is_brain = dtype == np.dtype("V2") and (
            attribute(path, dataset, "dtype", str, default="") == "bfloat16"
        )
    if is_brain:
        size = NUMBER_BYTES["bfloat16"] * math.prod(shape)
        return Stored(shape, "bfloat16", size, partial(_read_bfloat16, path, name, dataset))
    size = dtype.itemsize * math.prod(shape)
    return Stored(shape, str(dtype), size, partial(_read, path, name, dataset))


def _read(path: Path, name: str, dataset: h5py.Dataset) -> Array:
    with reading(path):
        return read(path, name, dataset).reshape(dataset.shape)


def _read_bfloat16(path: Path, name: str, dataset: h5py.Dataset) -> Array:
    """Keras writes these as 16 bits without a type, and their type beside them."""
    with reading(path):
        array = as_float32(np.asarray(dataset[()]).view("<u2"), "bfloat16")
    check_numbers(f"{path}", name, array)
    return array


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name the file in all that h5py raises for damaged ones, and not only in what it should."""
    try:
        yield
    except WeightError:
        raise
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise WeightError(f"{path}: damaged, or no HDF5 file ({error!s:.200})") from None
