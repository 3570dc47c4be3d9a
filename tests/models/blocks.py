"""Finding a part of a network, and giving it reference weights."""

from typing import Any, TypeVar

import numpy as np

from minincep.io import reference
from minincep.nn.module import Module

M = TypeVar("M", bound=Module)


def find(network: Module, path: str, kind: type[M]) -> M:
    """The module at a path; one that adds no level to the path comes after the one it is in."""
    module = next(module for at, module in network.modules() if at == path)
    assert isinstance(module, kind)
    return module


def put_reference_weights(module: Module, path: str = "", dtype: Any = np.float64) -> None:
    """Draw all weights by their full paths; the running statistics change nothing.

    Parameters
    ----------
    path
        Path of the module in its network.
    """
    drawn = {}
    for name, array in module.arrays().items():
        match name.rpartition("/")[2]:
            case "running_mean":
                drawn[name] = np.zeros(array.shape, dtype)
            case "running_var":
                drawn[name] = np.ones(array.shape, dtype)
            case _:
                full = f"{path}/{name}" if path else name
                drawn[name] = reference.draw(full, array.shape).astype(dtype)
    module.assign_all(drawn)
