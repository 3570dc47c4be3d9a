"""Leaves of tapes, and their gradients."""

from typing import Any

import numpy as np

from minincep.autograd import Tensor


def leaf(values: Any, dtype: Any = np.float64) -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)


def gradient(x: Tensor) -> Any:
    assert x.grad is not None
    return x.grad.tolist()
