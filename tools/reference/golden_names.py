"""Golden lists: the path and shape of every array, as the released weights have them."""

import math
import re

from torch import nn

from rule import DATA
from torch_names import NAMES, minincep_shape
from torch_networks import ARCHITECTURES, build

ARRAYS = {"inception_v4": 598, "inception_resnet_v2": 898, "inception_resnet_v1": 490}
TRAINABLE = {
    "inception_v4": 42_648_232,
    "inception_resnet_v2": 55_813_192,
    "inception_resnet_v1": 23_467_824,
}
Shapes = dict[str, tuple[int, ...]]


def shapes(module: nn.Module, table: dict[str, str]) -> Shapes:
    """Path -> shape without gamma, which the released weights do not have."""
    state = module.state_dict()
    found = {path: minincep_shape(state[name]) for name, path in table.items()}
    for path, shape in found.items():
        kernel = re.search(r"_(\d)x(\d)/weight$", path)
        if kernel:  # the released names state the kernel: height x width
            assert shape[:2] == (int(kernel[1]), int(kernel[2])), (path, shape)
    return {path: shape for path, shape in found.items() if not path.endswith("gamma")}


def trainable_count(listed: Shapes) -> int:
    """Number of values in all arrays but the running statistics."""
    return sum(math.prod(shape) for path, shape in listed.items() if "running_" not in path)


def write(listed: Shapes, name: str) -> None:
    """One line an array: path, space, shape such as 3x3x32x64."""
    lines = [f"{path} {'x'.join(map(str, shape))}\n" for path, shape in listed.items()]
    target = DATA / "names" / f"{name}.txt"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(lines))
    print(f"{target.name}: {len(listed)} arrays, {trainable_count(listed):,} trainable values")


def make() -> None:
    """Write the lists of all networks and of the auxiliary heads."""
    for architecture in ARCHITECTURES:
        network, head = build(architecture)
        listed = shapes(network, NAMES[architecture].network)
        assert len(listed) == ARRAYS[architecture], len(listed)
        assert trainable_count(listed) == TRAINABLE[architecture], trainable_count(listed)
        write(listed, architecture)
        if head is not None:
            write(shapes(head, NAMES[architecture].auxiliary), f"{architecture}_aux")
