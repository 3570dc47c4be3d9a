"""Write the small files in tests/data/sources that PyTorch and safetensors must write.

    python -m tools.sources.torch_files tests/data/sources

It needs `torch` and `safetensors`.  The arrays follow from `sample_states.py`.
"""

import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tools.sources.sample_rule import Arrays, draw
from tools.sources.sample_states import STATE, TYPES, strided


def tensors(arrays: Arrays) -> "OrderedDict[str, torch.Tensor]":
    """The arrays as tensors of their types."""
    return OrderedDict(
        (name, torch.from_numpy(draw(name, shape)).to(getattr(torch, dtype)))
        for name, (dtype, shape) in arrays.items()
    )


def checkpoint() -> dict[str, Any]:
    """What a training script keeps: the network, wrapped, its parameters still such, and more."""
    state = {
        f"module.{name}": torch.nn.Parameter(tensor) if tensor.is_floating_point() else tensor
        for name, tensor in tensors(STATE).items()
    }
    momentum = {
        number: {"momentum_buffer": torch.full_like(tensor, number), "step": number}
        for number, tensor in enumerate(state.values())
    }
    return {
        "epoch": 3,
        "arch": "inception_v4",
        "state_dict": state,
        "optimizer": {"state": momentum, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}]},
        "best": None,
        "amp": True,
        "history": [1.5, 2.5, 10**12],
        "shape": torch.Size([1, 2]),
    }


def views() -> dict[str, torch.Tensor]:
    """Tensors that are cut from one another, and one whose channels are last in memory."""
    whole = torch.from_numpy(strided()["whole"])
    filters = torch.from_numpy(strided()["filters"])
    return {
        "whole": whole,
        "again": whole,
        "transposed": whole.T,
        "columns": whole[:, 2:9:3],
        "row": whole[4],
        "filters": filters.contiguous(memory_format=torch.channels_last),
    }


def module() -> torch.nn.Module:
    """A network itself, which is no state and is refused."""
    return torch.nn.Linear(2, 2)


def write(folder: Path) -> None:
    """All files."""
    folder.mkdir(parents=True, exist_ok=True)
    saved = {
        "state": tensors(STATE),
        "checkpoint": checkpoint(),
        "types": tensors(TYPES),
        "views": views(),
        "module": module(),
    }
    for name, content in saved.items():
        torch.save(content, folder / f"torch_{name}.pth")
        torch.save(content, folder / f"torch_{name}_old.pth", _use_new_zipfile_serialization=False)
    torch.save(tensors(STATE), folder / "torch_protocol_4.pth", pickle_protocol=4)
    save_file(tensors(STATE), folder / "state.safetensors", {"format": "pt"})
    save_file(tensors(TYPES), folder / "types.safetensors")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
