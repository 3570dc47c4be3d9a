"""What is in the small sample files of PyTorch, safetensors and Keras."""

import numpy as np
import numpy.typing as npt

from tools.sources.sample_rule import Arrays, draw

STATE: Arrays = {
    "features.0.conv.weight": ("float32", (8, 3, 3, 3)),
    "features.0.bn.weight": ("float32", (8,)),
    "features.0.bn.bias": ("float32", (8,)),
    "features.0.bn.running_mean": ("float32", (8,)),
    "features.0.bn.running_var": ("float32", (8,)),
    "features.0.bn.num_batches_tracked": ("int64", ()),
    "last_linear.weight": ("float32", (5, 8)),
    "last_linear.bias": ("float32", (5,)),
}
TYPES: Arrays = {
    "single": ("float32", (2, 3)),
    "double": ("float64", (4, 3)),
    "half": ("float16", (5, 3)),
    "brain": ("bfloat16", (7,)),
    "scalar": ("float32", ()),
    "empty": ("float32", (0, 4)),
    "long": ("int64", (3,)),
    "flags": ("bool", (3,)),
}
KERAS: Arrays = {
    "conv2d/kernel": ("float32", (1, 1, 3, 4)),
    "conv2d_1/kernel": ("float32", (3, 3, 3, 4)),
    "batch_normalization/beta": ("float32", (4,)),
    "batch_normalization/moving_mean": ("float32", (4,)),
    "batch_normalization/moving_variance": ("float32", (4,)),
    "block1_conv/kernel": ("float32", (1, 1, 4, 4)),
    "block1_conv/bias": ("float32", (4,)),
    "batch_normalization_1/gamma": ("float32", (4,)),
    "batch_normalization_1/beta": ("float32", (4,)),
    "batch_normalization_1/moving_mean": ("float32", (4,)),
    "batch_normalization_1/moving_variance": ("float32", (4,)),
    "predictions/kernel": ("float32", (4, 5)),
    "predictions/bias": ("float32", (5,)),
}
"""`conv2d` is the short branch, made first and listed after the long one."""

GROUPS = {
    "conv2d": "layers/conv2d_1",
    "conv2d_1": "layers/conv2d",
    "batch_normalization": "layers/batch_normalization",
    "block1_conv": "layers/conv2d_2",
    "batch_normalization_1": "layers/batch_normalization_1",
    "predictions": "layers/dense",
}
"""Where Keras keeps the variables of these layers."""


def strided() -> dict[str, npt.NDArray[np.float32]]:
    """Arrays that share numbers, or are not in order, and what they are cut from."""
    whole, filters = draw("whole", (6, 10)), draw("filters", (2, 3, 4, 5))
    return {
        "whole": whole,
        "again": whole,
        "transposed": whole.T,
        "columns": whole[:, 2:9:3],
        "row": whole[4],
        "filters": filters,
    }


def keras(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Values of an array of the Keras files; positive, for some are variances."""
    return np.abs(draw(name, shape))
