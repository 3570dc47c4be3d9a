"""Gradients of one whole block of each kind, by PyTorch's autograd in float64.

Batch norm is in training mode, so its own gradient is part of what is compared.  The parameters
are drawn by their full paths; input and output gradient are drawn by the block's path.
"""

import zlib

import h5py
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import samples
from rule import DATA
from torch_names import NAMES
from torch_networks import build, put_drawn_weights, to_minincep

Floats = npt.NDArray[np.floating]

SAMPLES = 128
# Height and width: a stride of 2 drops the last row of an even height; 1x7 is wider than 5.
STRIDED, FLAT = (10, 11), (7, 5)
BLOCKS: dict[str, dict[str, tuple[int, int, int]]] = {  # path -> height, width, channels
    "inception_v4": {
        "mixed_3a": (*STRIDED, 64),
        "mixed_4a": (*STRIDED, 160),
        "mixed_5a": (*STRIDED, 192),
        "mixed_5b": (*FLAT, 384),
        "mixed_6a": (*STRIDED, 384),
        "mixed_6b": (*FLAT, 1024),
        "mixed_7a": (*STRIDED, 1024),
        "mixed_7b": (*FLAT, 1536),
    },
    "inception_resnet_v2": {
        "mixed_5b": (*FLAT, 192),
        "repeat/block35_1": (*FLAT, 320),
        "mixed_6a": (*STRIDED, 320),
        "repeat_1/block17_1": (*FLAT, 1088),
        "mixed_7a": (*STRIDED, 1088),
        "repeat_2/block8_1": (*FLAT, 2080),
        "block8": (*FLAT, 2080),
    },
    "inception_resnet_v1": {
        "repeat/block35_1": (*FLAT, 256),
        "mixed_6a": (*STRIDED, 256),
        "repeat_1/block17_1": (*FLAT, 896),
        "mixed_7a": (*STRIDED, 896),
        "repeat_2/block8_1": (*FLAT, 1792),
        "block8": (*FLAT, 1792),
    },
}


def drawn_map(purpose: str, path: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Unit-variance noise that belongs to a block: () -> shape."""
    random = np.random.RandomState(zlib.crc32(f"{purpose}:{path}".encode()))
    return random.standard_normal(shape).astype(np.float32)


def to_double(array: npt.NDArray[np.float32]) -> torch.Tensor:
    """(N, H, W, C) float32 -> (N, C, H, W) float64."""
    return torch.from_numpy(array.transpose(0, 3, 1, 2).astype(np.float64))


def channels_last(tensor: torch.Tensor) -> Floats:
    """(N, C, H, W) -> (N, H, W, C)."""
    return np.ascontiguousarray(tensor.detach().numpy().transpose(0, 2, 3, 1))


def gradients(
    block: nn.Module, names: dict[str, str], path: str, shape: tuple[int, int, int, int]
) -> dict[str, Floats]:
    """The output of a block, then the gradients of its input and of every parameter by name.

    Parameters
    ----------
    block
        Changed: gets its drawn weights, and goes to training mode and float64.
    names
        Torch name -> path relative to the block.
    path, shape
        Full path of the block, and its input (N, H, W, C).
    """
    put_drawn_weights(block, names, prefix=f"{path}/")
    block.double().train()
    x = to_double(drawn_map("input", path, shape)).requires_grad_()
    output = block(x)
    forward = channels_last(output)
    output.backward(to_double(drawn_map("gradient", path, forward.shape)))
    assert x.grad is not None
    found = {"output": forward, "input": channels_last(x.grad)}
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        found[names[name]] = to_minincep(parameter.grad)
    return found


def write(group: h5py.Group, path: str, found: dict[str, Floats]) -> None:
    """All entries of one block."""
    shapes = {"input_shape": found["input"].shape, "output_shape": found["output"].shape}
    group.attrs.update(path=path, **shapes)
    for number, (name, values) in enumerate(found.items()):
        index = samples.choose(
            f"{path}/{name}", values.shape, SAMPLES, is_map=name in ("output", "input")
        )
        entry = group.create_group(f"{number:03d}")
        entry.attrs.update(name=name, shape=values.shape, max_abs=np.abs(values).max())
        samples.write(entry, index, values)


def make() -> None:
    """Write tests/data/block_gradients.h5."""
    with samples.new_file(str(DATA / "block_gradients.h5")) as file:
        file.attrs.update(format="minincep-block-gradients", format_version=1)
        for architecture, blocks in BLOCKS.items():
            network, _ = build(architecture)
            file.create_group(architecture).attrs["witness"] = f"torch {torch.__version__}"
            for path, size in blocks.items():
                module, names = NAMES[architecture].block(path)
                found = gradients(network.get_submodule(module), names, path, (2, *size))
                write(file.create_group(f"{architecture}/{path.replace('/', '.')}"), path, found)
            print(f"{architecture}: gradients of {len(blocks)} blocks")
