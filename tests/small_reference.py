"""A reference file of a small network, in which the network is its own witness."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from minincep.autograd import Tensor, no_grad
from minincep.io import reference
from minincep.io.verify import reference_network
from minincep.models.registry import build_model
from minincep_kernels.registry import use

CONFIG: dict[str, Any] = {"width": 0.02, "blocks": [1, 1, 1]}
CASE = "self_75x75"


def write(path: Path) -> None:
    """Every end point whole, in one case."""
    with h5py.File(path, "w") as file:
        file.attrs.update(
            format="minincep-reference",
            architecture="inception_resnet_v1",
            config=json.dumps(CONFIG),
        )
        for name, array in build_model("inception_resnet_v1", **CONFIG).arrays().items():
            if "/running_" in name:
                value = np.float32(name.endswith("var"))
                file[f"statistics/{name}"] = np.full(array.shape, value)
        case = file.create_group(f"cases/{CASE}")
        case.attrs.update(witness="itself", height=75, width=75, image_seed=0)
    network = reference_network(path)
    with no_grad(), use(conv2d="im2col"):  # as verify does
        picture = Tensor(reference.scaled(reference.picture(75, 75)[None]))
        found = network.run_endpoints(picture, network.endpoint_names())
    with h5py.File(path, "r+") as file:
        for number, (name, y) in enumerate(found.items()):
            entry = file.create_group(f"cases/{CASE}/endpoints/{number:03d}")
            entry.attrs.update(name=name, shape=y.shape, std=y.data.std(), float32_error=1e-6)
            entry["index"] = np.arange(y.data.size)
            entry["values"] = y.data.ravel().astype(np.float64)
