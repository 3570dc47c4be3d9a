"""Weights files of Keras 3, and of the last Keras 2, `.weights.h5`: variables by number.

    layers/conv2d_5/vars            attribute name: the layer's own, such as conv2d_8
    layers/conv2d_5/vars/0          its first variable

The groups are not called like the layers.  They are counted by class, in the order in which the
model lists its layers, which for a network with branches is another one than that in which they
were made.  Since 3.6 Keras writes the layer's own name beside; it is taken if it is there.  Without
it, an array is called by its group, `layers/conv2d_5/kernel`, so that nobody takes one for the
other.

Variables are numbered in the order in which a layer made them, those that are trained first:
kernel, bias; gamma, beta, moving mean, moving variance.  Batch norm with three of them is taken for
one without gamma.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import h5py

from minincep.io.errors import WeightError
from minincep.io.formats.keras_h5 import reading, stored
from minincep.io.formats.stored import Stored, check_size
from minincep.io.hdf5 import attribute, datasets, open_file

LAYERS = ("layers/", "_layer_checkpoint_dependencies/")  # the second in Keras 2.12 and 2.13
NORM = ("gamma", "beta", "moving_mean", "moving_variance")
NORM_WITHOUT_GAMMA = NORM[1:]
WITH_BIAS = ("kernel", "bias")


@contextmanager
def arrays(path: Path) -> Iterator[dict[str, Stored]]:
    """Arrays by layer and kind, such as ``conv2d_8/kernel``; none of them read.

    Raises
    ------
    WeightError
        If the file is missing or no HDF5 file of this kind, a link leads elsewhere, or two layers
        have one name.
    """
    with open_file(path) as file:
        with reading(path):
            found = inside(path, file)
        check_size(path, found.values())
        yield found


def inside(path: Path, file: h5py.File) -> dict[str, Stored]:
    """The arrays of an open file.

    Raises
    ------
    WeightError
        As `arrays` does.
    """
    groups: dict[str, dict[str, h5py.Dataset]] = {}
    for name, dataset in datasets(path, file).items():
        group, _, number = name.rpartition("/")
        layer, _, variables = group.rpartition("/")
        if not name.startswith(LAYERS) or layer.endswith("/seed_generator"):
            continue  # state of the optimiser, of metrics, of random numbers
        if variables != "vars":
            raise WeightError(f"{path}: {name!r:.200} is no place where Keras 3 keeps variables")
        groups.setdefault(group, {})[number] = dataset
    if not groups:
        raise WeightError(f"{path}: holds no variables of layers as Keras 3 keeps them")
    found: dict[str, Stored] = {}
    for group, numbered in groups.items():
        own = attribute(path, file[group], "name", str, default="")
        layer = own or group.removesuffix("/vars")
        for number, kind in _kinds(numbered).items():
            name = f"{layer}/{kind}"
            if name in found:
                raise WeightError(f"{path}: two arrays are called {name!r:.200}")
            found[name] = stored(path, name, numbered[number])
    return found


def _kinds(numbered: Mapping[str, h5py.Dataset]) -> dict[str, str]:
    """Number of each variable of a layer -> what it is; the number again if that is not known."""
    numbers = [str(number) for number in range(len(numbered))]
    if set(numbers) != set(numbered):
        return {number: number for number in numbered}
    axes = [len(numbered[number].shape or ()) for number in numbers]
    kinds: tuple[str, ...]
    if len(axes) in (3, 4) and set(axes) == {1}:
        kinds = NORM if len(axes) == 4 else NORM_WITHOUT_GAMMA
    elif axes in ([2], [4], [2, 1], [4, 1]):
        kinds = WITH_BIAS[: len(axes)]
    else:
        return {number: number for number in numbers}
    return dict(zip(numbers, kinds, strict=True))
