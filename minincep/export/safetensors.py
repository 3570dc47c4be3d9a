"""Weights for PyTorch networks: a safetensors file with the names of timm or facenet-pytorch.

    8 bytes                 length of the header, little-endian
    header                  JSON: name -> type, shape, place of the first and after the last byte
    the numbers             one array after the other

    timm.create_model("inception_v4", checkpoint_path="net.safetensors")
    InceptionResnetV1().load_state_dict(safetensors.torch.load_file("net.safetensors"))

Filters are (OC, C, KH, KW), dense weights (OC, C).  PyTorch's batch norm always has a gamma, ones
if ours has none, and counts the batches that it was trained on: none.  Auxiliary heads are left
out.  facenet-pytorch makes 512 numbers, and has a classifier only if it is made with `classify` and
`num_classes`; for a network of 128 numbers give it another `last_linear` and `last_bn` first.
"""

import json
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from minincep.export.parts import Later, numbers, write_parts
from minincep.export.weights import description, weights
from minincep.io.names import facenet_pytorch, timm
from minincep.io.names.torch_states import COUNTER
from minincep.models.network import Network
from minincep_kernels.errors import ConfigError

TABLES: dict[str, Callable[[Iterable[str]], dict[str, str]]] = {
    "inception_v4": timm.names,
    "inception_resnet_v2": timm.names,
    "inception_resnet_v1": facenet_pytorch.names,
}
LAYOUTS = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}  # from (C, OC), from (KH, KW, C, OC)


def write(network: Network, path: Path) -> None:
    """Write the weights for timm (v4, v2) or facenet-pytorch (v1).

    Raises
    ------
    ConfigError
        If neither has such a network.
    OSError
        If the file cannot be written.
    """
    if network.architecture not in TABLES:
        raise ConfigError(
            f"no PyTorch network fits {network.architecture}, only {', '.join(TABLES)}: export it "
            "as onnx, which holds the whole network"
        )
    arrays = weights(network, ("aux_logits/",))
    norms = [name.removesuffix("/beta") for name in arrays if name.endswith("/beta")]
    for norm in norms:
        arrays.setdefault(f"{norm}/gamma", np.ones_like(arrays[f"{norm}/beta"]))
    names = TABLES[network.architecture](arrays)
    counters = [f"{names[f'{norm}/beta'].removesuffix('bias')}{COUNTER}" for norm in norms]
    parts: list[bytes | Later] = [bytes(8 * len(counters))]  # first, as 8 bytes want their places
    header: dict[str, object] = {"__metadata__": {"format": "pt", **description(network)}}
    for index, name in enumerate(counters):
        header[name] = _entry("I64", (), 8 * index, 8)
    place = 8 * len(counters)
    for name, array in arrays.items():
        view = array.transpose(LAYOUTS[array.ndim])
        header[names[name]] = _entry("F32", view.shape, place, 4 * view.size)
        parts.append(numbers(view))
        place += 4 * view.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    write_parts(path, [struct.pack("<Q", len(text)), text, *parts])


def _entry(kind: str, shape: tuple[int, ...], place: int, size: int) -> dict[str, object]:
    return {"dtype": kind, "shape": shape, "data_offsets": [place, place + size]}
