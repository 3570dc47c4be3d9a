"""New arrays that kernels like: aligned, and with room behind the end.

NumPy's own arrays begin anywhere in a cache line, so that every vector of 64 bytes lies in two.

(Memory is not kept for later arrays: tried on whole training steps, a pool saved nine of ten page
faults and no time, as the system hands out large pages, and held an eighth more memory.)
"""

import math
from typing import Any

import numpy as np

from minincep_kernels import Array

LINE = 64  # bytes in a cache line
SLACK = 256  # bytes behind the end, so that kernels may read a vector over it


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """An array with anything in it, as `numpy.empty` gives.

    It begins with a cache line, and there are `SLACK` bytes behind its end that may be read.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + LINE + SLACK, np.uint8)
    start = -memory.ctypes.data % LINE
    array: Array = memory[start : start + size].view(dtype).reshape(shape)
    return array
