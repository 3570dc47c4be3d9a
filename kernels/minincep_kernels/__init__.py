"""Kernels: arrays in, arrays out.  Knows NumPy and Numba, never a tensor, a file or a network.

Arrays are channels last: activations (N, H, W, C), filters (KH, KW, C, OC), float32 or float64.
"""

from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
