"""What is in the small sample files of TensorFlow and ONNX, for those who write and read them."""

import zlib

import numpy as np
import numpy.typing as npt

Arrays = dict[str, tuple[str, tuple[int, ...]]]

VARIABLES: Arrays = {
    "Net/Conv2d_1a_3x3/weights": ("float32", (3, 3, 3, 32)),
    "Net/Conv2d_1a_3x3/BatchNorm/beta": ("float32", (32,)),
    "Net/Conv2d_1a_3x3/BatchNorm/moving_mean": ("float32", (32,)),
    "Net/Conv2d_1a_3x3/BatchNorm/moving_variance": ("float32", (32,)),
    "Net/Logits/weights": ("float32", (32, 7)),
    "Net/Logits/biases": ("float32", (7,)),
    "Net/double": ("float64", (4, 3)),
    "Net/half": ("float16", (5, 3)),
    "Net/brain": ("bfloat16", (6,)),
    "Net/scalar": ("float32", ()),
    "Net/empty": ("float32", (0, 4)),
    "global_step": ("int64", ()),
}
GRAPH: Arrays = {
    "Net/weights": ("float32", (3, 3, 2, 4)),
    "Net/BatchNorm/beta": ("float32", (4,)),
    "Net/double": ("float64", (4, 3)),
    "Net/half": ("float16", (5, 3)),
    "Net/brain": ("bfloat16", (6,)),
    "Net/one": ("float32", (1,)),
    "global_step": ("int64", ()),
}


def draw(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Distinct values for an array, from its name alone."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    return np.asarray(random.uniform(-100, 100, shape), np.float32)


def expected(name: str, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """The values after a file has held them in a type."""
    values = draw(name, shape)
    if dtype == "float16":
        return values.astype(np.float16).astype(np.float32)
    if dtype == "bfloat16":  # rounded to the nearest, ties to even
        bits = values.view(np.uint32)
        rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
        return (rounded & np.uint32(0xFFFF0000)).view(np.float32)
    return values
