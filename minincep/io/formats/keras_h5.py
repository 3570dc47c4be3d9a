"""Keras 2 HDF5 files, whole models and weights alone.

An array is at `<layer>/<layer>/kernel:0`, in a whole model below `model_weights`.  Only arrays are
looked at.  The description of the model beside them may hold marshalled code (Lambda layers); it
is never read.
"""

from pathlib import Path

import h5py

from minincep.io.errors import WeightError
from minincep.io.hdf5 import datasets


def arrays(path: Path, file: h5py.File) -> dict[str, h5py.Dataset]:
    """Arrays by layer and kind, such as ``Bottleneck/kernel``; none of them read.

    Raises
    ------
    WeightError
        If a link leads elsewhere, or two arrays have one name.
    """
    everything = datasets(path, file)
    whole_model = any(name.startswith("model_weights/") for name in everything)
    found = {}
    for name, dataset in everything.items():
        if whole_model and not name.startswith("model_weights/"):
            continue  # state of the optimiser
        layer, _, kind = name.rpartition("/")
        short = f"{layer.rpartition('/')[2]}/{kind.partition(':')[0]}"
        if short in found:
            raise WeightError(f"{path}: two arrays are called {short}, one of them {name}")
        found[short] = dataset
    return found
