"""The networks with reference weights as ONNX files, for engines that read nothing else.

`benchmarks/peers.py` runs them.  The batch-norm statistics are those stored in tests/data/, so
that minincep and the engine beside it compute the same to within rounding.
"""

import io
import os
from pathlib import Path

import h5py
import onnx
import torch
from torch import nn

from reference_outputs import CALIBRATION_SIZE
from rule import DATA
from torch_names import NAMES
from torch_networks import build, put_drawn_weights

OPSET = 17


def put_stored_statistics(network: nn.Module, architecture: str) -> None:
    """Set every running mean and variance to what tests/data/ has for its path."""
    state = network.state_dict()
    with h5py.File(DATA / f"reference_{architecture}.h5") as file, torch.no_grad():
        for name, path in NAMES[architecture].network.items():
            if "running_" in path:
                stored = torch.from_numpy(file[f"statistics/{path}"][()])
                assert stored.shape == state[name].shape, path
                state[name].copy_(stored)


def exported(network: nn.Module, size: int) -> bytes:
    """An ONNX model of a network: input (N, 3, H, W) -> output (N, classes or embedding).

    Raises
    ------
    onnx.checker.ValidationError
        If it is no valid model.
    """
    buffer = io.BytesIO()
    # The newer exporter (dynamo=True) needs onnxscript, and gives nothing more here.
    torch.onnx.export(
        network,
        (torch.zeros(1, 3, size, size),),
        buffer,
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
        opset_version=OPSET,
        dynamo=False,
    )
    model = onnx.load_from_string(buffer.getvalue())
    onnx.checker.check_model(model, full_check=True)
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch", value.name
    return buffer.getvalue()


def make(architecture: str, directory: Path) -> None:
    """Write DIRECTORY/<architecture>.onnx."""
    network, _ = build(architecture)
    put_drawn_weights(network, NAMES[architecture].network)
    put_stored_statistics(network, architecture)
    model = exported(network, CALIBRATION_SIZE[architecture])
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{architecture}.onnx"
    part = path.with_suffix(".onnx.part")
    part.write_bytes(model)
    os.replace(part, path)
    print(f"{path}: {len(model) / 1e6:.0f} MB, opset {OPSET}")
