"""Embeddings of a network with real weights, by an implementation that never saw them.

`facenet_keras.h5` (Inception-ResNet-v1, 128-d, trained on MS-Celeb-1M by facenet and converted to
Keras 2 by others) is read array by array and put into facenet-pytorch's network.  The file is
never loaded with Keras: its Lambda layers hold marshalled code.
"""

import hashlib
import math
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import torch
from facenet_pytorch.models.inception_resnet_v1 import InceptionResnetV1
from torch import nn

import samples
from rule import DATA, picture
from torch_networks import EPSILON, to_torch, witness

Floats = npt.NDArray[np.floating]

SHA256 = "6acdd8fb3a3fb2b54257abdd1879246a3fcbe18fbe53a41c751e141abe63a0af"
VALUES = 22_808_144
EMBEDDING = 128
SEEDS = (1, 2, 3)
WHITENING = (
    "per image over the uint8 values in float64: (x - mean) / max(std, 1 / sqrt(size)), "
    "size = height * width * 3"
)

STEM = {
    "Conv2d_1a_3x3": "conv2d_1a",
    "Conv2d_2a_3x3": "conv2d_2a",
    "Conv2d_2b_3x3": "conv2d_2b",
    "Conv2d_3b_1x1": "conv2d_3b",
    "Conv2d_4a_3x3": "conv2d_4a",
    "Conv2d_4b_3x3": "conv2d_4b",
}
BLOCK35 = {
    "Branch_0_Conv2d_1x1": "branch0",
    "Branch_1_Conv2d_0a_1x1": "branch1.0",
    "Branch_1_Conv2d_0b_3x3": "branch1.1",
    "Branch_2_Conv2d_0a_1x1": "branch2.0",
    "Branch_2_Conv2d_0b_3x3": "branch2.1",
    "Branch_2_Conv2d_0c_3x3": "branch2.2",
}
MIXED_6A = {
    "Branch_0_Conv2d_1a_3x3": "branch0",
    "Branch_1_Conv2d_0a_1x1": "branch1.0",
    "Branch_1_Conv2d_0b_3x3": "branch1.1",
    "Branch_1_Conv2d_1a_3x3": "branch1.2",
}
BLOCK17 = {
    "Branch_0_Conv2d_1x1": "branch0",
    "Branch_1_Conv2d_0a_1x1": "branch1.0",
    "Branch_1_Conv2d_0b_1x7": "branch1.1",
    "Branch_1_Conv2d_0c_7x1": "branch1.2",
}
MIXED_7A = {
    "Branch_0_Conv2d_0a_1x1": "branch0.0",
    "Branch_0_Conv2d_1a_3x3": "branch0.1",
    "Branch_1_Conv2d_0a_1x1": "branch1.0",
    "Branch_1_Conv2d_1a_3x3": "branch1.1",
    "Branch_2_Conv2d_0a_1x1": "branch2.0",
    "Branch_2_Conv2d_0b_3x3": "branch2.1",
    "Branch_2_Conv2d_1a_3x3": "branch2.2",
}
BLOCK8 = {
    "Branch_0_Conv2d_1x1": "branch0",
    "Branch_1_Conv2d_0a_1x1": "branch1.0",
    "Branch_1_Conv2d_0b_1x3": "branch1.1",
    "Branch_1_Conv2d_0c_3x1": "branch1.2",
}
BLOCKS = {
    **{f"Block35_{i + 1}": (f"repeat_1.{i}", BLOCK35) for i in range(5)},
    "Mixed_6a": ("mixed_6a", MIXED_6A),
    **{f"Block17_{i + 1}": (f"repeat_2.{i}", BLOCK17) for i in range(10)},
    "Mixed_7a": ("mixed_7a", MIXED_7A),
    **{f"Block8_{i + 1}": (f"repeat_3.{i}", BLOCK8) for i in range(5)},
    "Block8_6": ("block8", BLOCK8),
}


def dataset(layer: str, leaf: str) -> str:
    """Where the file keeps an array of a layer."""
    return f"model_weights/{layer}/{layer}/{leaf}:0"


def norm_names(layer: str, module: str) -> dict[str, str]:
    """Dataset -> torch name of the batch norm of a unit.  There is no gamma."""
    return {
        dataset(f"{layer}_BatchNorm", "beta"): f"{module}.bias",
        dataset(f"{layer}_BatchNorm", "moving_mean"): f"{module}.running_mean",
        dataset(f"{layer}_BatchNorm", "moving_variance"): f"{module}.running_var",
    }


def unit_names(layer: str, module: str) -> dict[str, str]:
    """Dataset -> torch name of a convolution with its batch norm."""
    kernel = {dataset(layer, "kernel"): f"{module}.conv.weight"}
    return kernel | norm_names(layer, f"{module}.bn")


def name_table() -> dict[str, str]:
    """Dataset -> torch name of all arrays."""
    table: dict[str, str] = {}
    for layer, module in STEM.items():
        table |= unit_names(layer, module)
    for block, (block_module, layers) in BLOCKS.items():
        for layer, module in layers.items():
            table |= unit_names(f"{block}_{layer}", f"{block_module}.{module}")
        if block.startswith("Block"):
            up = f"{block}_Conv2d_1x1"
            table[dataset(up, "kernel")] = f"{block_module}.conv2d.weight"
            table[dataset(up, "bias")] = f"{block_module}.conv2d.bias"
    table[dataset("Bottleneck", "kernel")] = "last_linear.weight"
    return table | norm_names("Bottleneck", "last_bn")


def read(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """All arrays of the file by dataset path.

    Raises
    ------
    ValueError
        If this is not the file that the reference was made from.
    """
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise ValueError(f"{path} is not the file with SHA-256 {SHA256}")
    arrays = {}

    def visit(name: str, node: h5py.Group | h5py.Dataset) -> None:
        if isinstance(node, h5py.Dataset):
            arrays[name] = node[()]

    with h5py.File(path) as file:
        file.visititems(visit)
    assert sum(array.size for array in arrays.values()) == VALUES
    return arrays


def build(arrays: dict[str, npt.NDArray[np.float32]]) -> nn.Module:
    """The 128-d network with these arrays, gamma 1, in eval mode."""
    network: nn.Module = InceptionResnetV1()
    network.last_linear = nn.Linear(1792, EMBEDDING, bias=False)
    network.last_bn = nn.BatchNorm1d(EMBEDDING, eps=EPSILON)
    table = name_table()
    state = network.state_dict()
    assert table.keys() == arrays.keys(), table.keys() ^ arrays.keys()
    assert len(set(table.values())) == len(table)
    left = state.keys() - set(table.values())
    gammas = {name for name in left if name.endswith(".weight") and state[name].ndim == 1}
    assert left - gammas == {n for n in state if n.endswith("num_batches_tracked")}
    with torch.no_grad():
        for name, torch_name in table.items():
            value = to_torch(arrays[name])
            assert value.shape == state[torch_name].shape, name
            state[torch_name].copy_(value)
        for name in gammas:
            state[name].fill_(1.0)
    return network.eval()


def whitened(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The standardisation that facenet's models of 2017 were trained with."""
    x = image.astype(np.float64)
    scale = max(float(x.std()), 1.0 / math.sqrt(x.size))
    return np.asarray((x - x.mean()) / scale)


def run(network: nn.Module, batch: Floats) -> tuple[Floats, Floats]:
    """(N, H, W, 3) -> bottleneck before and after L2 normalisation, both (N, 128)."""
    kept: list[torch.Tensor] = []
    handle = network.get_submodule("last_bn").register_forward_hook(
        lambda _module, _inputs, output: kept.append(output.clone())
    )
    with torch.no_grad():
        embeddings = network(torch.from_numpy(batch.transpose(0, 3, 1, 2).copy()))
    handle.remove()
    return kept[0].numpy(), embeddings.numpy()


def make(path: Path) -> None:
    """Write tests/data/reference_facenet_keras.h5."""
    network = build(read(path))
    batch = np.stack([whitened(picture(160, 160, seed)) for seed in SEEDS])
    single = run(network, batch.astype(np.float32))
    exact = run(network.double(), batch)
    with samples.new_file(str(DATA / "reference_facenet_keras.h5")) as file:
        file.attrs.update(
            format="minincep-reference-embeddings",
            format_version=1,
            architecture="inception_resnet_v1",
            config='{"embedding_size": 128}',
            witness=witness("facenet-pytorch"),
            source_sha256=SHA256,
            height=160,
            width=160,
            image_seeds=SEEDS,
            whitening=WHITENING,
        )
        for name, values, rounded in zip(("bottleneck", "embeddings"), exact, single, strict=True):
            error = float(np.abs(values - rounded).max() / values.std())
            file.create_dataset(name, data=values).attrs["float32_error"] = error
            print(f"facenet_keras {name}: std {values.std():.3f}, float32 error {error:.1e}")
    print("cosines of the three embeddings:", np.round(exact[1] @ exact[1].T, 3).tolist())
