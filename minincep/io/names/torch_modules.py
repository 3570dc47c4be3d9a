"""Explicit tables: names of arrays in the PyTorch networks -> paths of arrays in minincep.

Written out from the released scopes and from the attribute names of timm, Cadene and
facenet-pytorch, one line a layer, and never derived by rewriting strings: a table can be read
against the figures of the papers.  A layer is a *unit* (convolution without bias, batch norm, ReLU)
or an *affine* layer (weight and bias).  `arrays` expands layers to arrays.

This module imports nothing of minincep: `tools/reference` reads it without the rest.
"""

from collections.abc import Mapping

UNIT = {  # inside timm's ConvNormAct, Cadene's and facenet-pytorch's BasicConv2d
    "conv.weight": "weight",
    "bn.weight": "batch_norm/gamma",
    "bn.bias": "batch_norm/beta",
    "bn.running_mean": "batch_norm/running_mean",
    "bn.running_var": "batch_norm/running_var",
}
AFFINE = {"weight": "weight", "bias": "bias"}

# --- Inception-v4 (timm) ---------------------------------------------------------------------

V4_STEM = {
    "features.0": "conv2d_1a_3x3",
    "features.1": "conv2d_2a_3x3",
    "features.2": "conv2d_2b_3x3",
}
V4_MIXED_3A = {"conv": "branch_1/conv2d_0a_3x3"}
V4_MIXED_4A = {
    "branch0.0": "branch_0/conv2d_0a_1x1",
    "branch0.1": "branch_0/conv2d_1a_3x3",
    "branch1.0": "branch_1/conv2d_0a_1x1",
    "branch1.1": "branch_1/conv2d_0b_1x7",
    "branch1.2": "branch_1/conv2d_0c_7x1",
    "branch1.3": "branch_1/conv2d_1a_3x3",
}
V4_MIXED_5A = {"conv": "branch_0/conv2d_1a_3x3"}
V4_A = {
    "branch0": "branch_0/conv2d_0a_1x1",
    "branch1.0": "branch_1/conv2d_0a_1x1",
    "branch1.1": "branch_1/conv2d_0b_3x3",
    "branch2.0": "branch_2/conv2d_0a_1x1",
    "branch2.1": "branch_2/conv2d_0b_3x3",
    "branch2.2": "branch_2/conv2d_0c_3x3",
    "branch3.1": "branch_3/conv2d_0b_1x1",
}
REDUCTION_A = {  # the same layers, in other widths, in all three networks
    "branch0": "branch_0/conv2d_1a_3x3",
    "branch1.0": "branch_1/conv2d_0a_1x1",
    "branch1.1": "branch_1/conv2d_0b_3x3",
    "branch1.2": "branch_1/conv2d_1a_3x3",
}
V4_B = {
    "branch0": "branch_0/conv2d_0a_1x1",
    "branch1.0": "branch_1/conv2d_0a_1x1",
    "branch1.1": "branch_1/conv2d_0b_1x7",
    "branch1.2": "branch_1/conv2d_0c_7x1",
    "branch2.0": "branch_2/conv2d_0a_1x1",
    "branch2.1": "branch_2/conv2d_0b_7x1",
    "branch2.2": "branch_2/conv2d_0c_1x7",
    "branch2.3": "branch_2/conv2d_0d_7x1",
    "branch2.4": "branch_2/conv2d_0e_1x7",
    "branch3.1": "branch_3/conv2d_0b_1x1",
}
V4_REDUCTION_B = {
    "branch0.0": "branch_0/conv2d_0a_1x1",
    "branch0.1": "branch_0/conv2d_1a_3x3",
    "branch1.0": "branch_1/conv2d_0a_1x1",
    "branch1.1": "branch_1/conv2d_0b_1x7",
    "branch1.2": "branch_1/conv2d_0c_7x1",
    "branch1.3": "branch_1/conv2d_1a_3x3",
}
V4_C = {
    "branch0": "branch_0/conv2d_0a_1x1",
    "branch1_0": "branch_1/conv2d_0a_1x1",
    "branch1_1a": "branch_1/conv2d_0b_1x3",
    "branch1_1b": "branch_1/conv2d_0c_3x1",
    "branch2_0": "branch_2/conv2d_0a_1x1",
    "branch2_1": "branch_2/conv2d_0b_3x1",
    "branch2_2": "branch_2/conv2d_0c_1x3",
    "branch2_3a": "branch_2/conv2d_0d_1x3",
    "branch2_3b": "branch_2/conv2d_0e_3x1",
    "branch3.1": "branch_3/conv2d_0b_1x1",
}
V4_BLOCKS = {
    "features.3": ("mixed_3a", V4_MIXED_3A),
    "features.4": ("mixed_4a", V4_MIXED_4A),
    "features.5": ("mixed_5a", V4_MIXED_5A),
    "features.6": ("mixed_5b", V4_A),
    "features.7": ("mixed_5c", V4_A),
    "features.8": ("mixed_5d", V4_A),
    "features.9": ("mixed_5e", V4_A),
    "features.10": ("mixed_6a", REDUCTION_A),
    "features.11": ("mixed_6b", V4_B),
    "features.12": ("mixed_6c", V4_B),
    "features.13": ("mixed_6d", V4_B),
    "features.14": ("mixed_6e", V4_B),
    "features.15": ("mixed_6f", V4_B),
    "features.16": ("mixed_6g", V4_B),
    "features.17": ("mixed_6h", V4_B),
    "features.18": ("mixed_7a", V4_REDUCTION_B),
    "features.19": ("mixed_7b", V4_C),
    "features.20": ("mixed_7c", V4_C),
    "features.21": ("mixed_7d", V4_C),
}

# --- Inception-ResNet-v1 and -v2 -------------------------------------------------------------

RESNET_STEM = {
    "conv2d_1a": "conv2d_1a_3x3",
    "conv2d_2a": "conv2d_2a_3x3",
    "conv2d_2b": "conv2d_2b_3x3",
    "conv2d_3b": "conv2d_3b_1x1",
    "conv2d_4a": "conv2d_4a_3x3",
}
V2_MIXED_5B = {
    "branch0": "branch_0/conv2d_1x1",
    "branch1.0": "branch_1/conv2d_0a_1x1",
    "branch1.1": "branch_1/conv2d_0b_5x5",
    "branch2.0": "branch_2/conv2d_0a_1x1",
    "branch2.1": "branch_2/conv2d_0b_3x3",
    "branch2.2": "branch_2/conv2d_0c_3x3",
    "branch3.1": "branch_3/conv2d_0b_1x1",
}
BLOCK35 = {
    "branch0": "branch_0/conv2d_1x1",
    "branch1.0": "branch_1/conv2d_0a_1x1",
    "branch1.1": "branch_1/conv2d_0b_3x3",
    "branch2.0": "branch_2/conv2d_0a_1x1",
    "branch2.1": "branch_2/conv2d_0b_3x3",
    "branch2.2": "branch_2/conv2d_0c_3x3",
}
BLOCK17 = {
    "branch0": "branch_0/conv2d_1x1",
    "branch1.0": "branch_1/conv2d_0a_1x1",
    "branch1.1": "branch_1/conv2d_0b_1x7",
    "branch1.2": "branch_1/conv2d_0c_7x1",
}
BLOCK8 = {
    "branch0": "branch_0/conv2d_1x1",
    "branch1.0": "branch_1/conv2d_0a_1x1",
    "branch1.1": "branch_1/conv2d_0b_1x3",
    "branch1.2": "branch_1/conv2d_0c_3x1",
}
RESNET_REDUCTION_B = {
    "branch0.0": "branch_0/conv2d_0a_1x1",
    "branch0.1": "branch_0/conv2d_1a_3x3",
    "branch1.0": "branch_1/conv2d_0a_1x1",
    "branch1.1": "branch_1/conv2d_1a_3x3",
    "branch2.0": "branch_2/conv2d_0a_1x1",
    "branch2.1": "branch_2/conv2d_0b_3x3",
    "branch2.2": "branch_2/conv2d_1a_3x3",
}
UP_PROJECTION = {"conv2d": "conv2d_1x1"}  # an affine layer of every residual block

V2_BLOCKS = {
    "mixed_5b": ("mixed_5b", V2_MIXED_5B),
    **{f"repeat.{i}": (f"repeat/block35_{i + 1}", BLOCK35) for i in range(10)},
    "mixed_6a": ("mixed_6a", REDUCTION_A),
    **{f"repeat_1.{i}": (f"repeat_1/block17_{i + 1}", BLOCK17) for i in range(20)},
    "mixed_7a": ("mixed_7a", RESNET_REDUCTION_B),
    **{f"repeat_2.{i}": (f"repeat_2/block8_{i + 1}", BLOCK8) for i in range(9)},
    "block8": ("block8", BLOCK8),
}
# Careful: facenet-pytorch numbers its repeats from 1, so its repeat_1 is the released Repeat.
V1_BLOCKS = {
    **{f"repeat_1.{i}": (f"repeat/block35_{i + 1}", BLOCK35) for i in range(5)},
    "mixed_6a": ("mixed_6a", REDUCTION_A),
    **{f"repeat_2.{i}": (f"repeat_1/block17_{i + 1}", BLOCK17) for i in range(10)},
    "mixed_7a": ("mixed_7a", RESNET_REDUCTION_B),
    **{f"repeat_3.{i}": (f"repeat_2/block8_{i + 1}", BLOCK8) for i in range(5)},
    "block8": ("block8", BLOCK8),
}
V1_BOTTLENECK = {
    "last_linear.weight": "bottleneck/weight",
    "last_bn.weight": "bottleneck/batch_norm/gamma",
    "last_bn.bias": "bottleneck/batch_norm/beta",
    "last_bn.running_mean": "bottleneck/batch_norm/running_mean",
    "last_bn.running_var": "bottleneck/batch_norm/running_var",
}


def is_residual(path: str) -> bool:
    """Whether the block at this minincep path ends in an up-projection and a sum."""
    return path.rpartition("/")[2].startswith("block")


def arrays(layers: Mapping[str, str], kind: Mapping[str, str]) -> dict[str, str]:
    """Layer table -> array table, for layers that are all of one kind (UNIT or AFFINE)."""
    return {
        f"{module}.{torch_leaf}": f"{path}/{leaf}"
        for module, path in layers.items()
        for torch_leaf, leaf in kind.items()
    }


def block_arrays(layers: Mapping[str, str], *, residual: bool) -> dict[str, str]:
    """Array table of one block, relative to the block on both sides."""
    up = arrays(UP_PROJECTION, AFFINE) if residual else {}
    return {**arrays(layers, UNIT), **up}


def _all_blocks(blocks: Mapping[str, tuple[str, dict[str, str]]]) -> dict[str, str]:
    """Array table of all blocks, in full names on both sides."""
    table = {}
    for module, (path, layers) in blocks.items():
        for name, array in block_arrays(layers, residual=is_residual(path)).items():
            table[f"{module}.{name}"] = f"{path}/{array}"
    return table


INCEPTION_V4 = {
    **arrays(V4_STEM, UNIT),
    **_all_blocks(V4_BLOCKS),
    **arrays({"last_linear": "logits"}, AFFINE),
}
INCEPTION_RESNET_V2 = {
    **arrays(RESNET_STEM, UNIT),
    **_all_blocks(V2_BLOCKS),
    **arrays({"conv2d_7b": "conv2d_7b_1x1"}, UNIT),
    **arrays({"classif": "logits"}, AFFINE),
}
INCEPTION_RESNET_V1 = {
    **arrays({**RESNET_STEM, "conv2d_4b": "conv2d_4b_3x3"}, UNIT),
    **_all_blocks(V1_BLOCKS),
    **V1_BOTTLENECK,
}
