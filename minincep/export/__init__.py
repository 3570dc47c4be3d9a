"""The other way: a network in the files of other libraries, so that nobody is locked in."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from minincep.export import keras_h5, onnx, safetensors
from minincep.io.hdf5 import check_numbers
from minincep.models.network import Network
from minincep_kernels.errors import ConfigError

Kind = Literal["safetensors", "keras", "onnx"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WRITERS: dict[Kind, Callable[[Network, Path], None]] = {
    "safetensors": safetensors.write,
    "keras": keras_h5.write,
    "onnx": onnx.write,
}


def export(network: Network, path: str | os.PathLike[str], kind: Kind) -> None:
    """Write a network for another library, whole or not at all.

    Parameters
    ----------
    kind
        "safetensors": weights for timm (Inception-v4, Inception-ResNet-v2) or facenet-pytorch
        (Inception-ResNet-v1).  "keras": weights for keras.applications (Inception-ResNet-v2),
        keras-facenet (Inception-ResNet-v1) or kentsommer's Inception-v4.  "onnx": the whole
        network, for ONNX Runtime and others.

    Raises
    ------
    ConfigError
        If there is no such kind, or the library has no such network.
    WeightError
        If there are numbers that are not finite.
    PlanError
        If the network is in training mode, or not in float32.
    OSError
        If the file cannot be written.  Nothing of it is left then.
    """
    if kind not in WRITERS:
        raise ConfigError(f"no kind of file {kind!r}, only: {', '.join(KINDS)}")
    for name, array in network.arrays().items():
        check_numbers("cannot export", name, array)
    WRITERS[kind](network, Path(path))
