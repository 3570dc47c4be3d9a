"""Where numbers stop being finite: the layer that is to blame, by name."""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np

from minincep.autograd import Tensor, no_grad
from minincep.nn.module import Module
from minincep_kernels.errors import UserError


class DivergedError(UserError, ArithmeticError):
    """A loss or a gradient is not finite: no step of a training can mend that."""


def first_output(network: Module, forward: Callable[[], object]) -> str:
    """Path of the first layer from which something comes out that is not finite.

    Parameters
    ----------
    forward
        Runs the network again as it ran before.

    Returns
    -------
    str
        ``""`` if all that comes out is finite.
    """
    found: list[str] = []
    with no_grad(), _watched(network, found), np.errstate(all="ignore"):
        forward()
    return found[0] if found else ""


@contextlib.contextmanager
def _watched(network: Module, found: list[str]) -> Iterator[None]:
    """Within the `with` block, note the path of each module that gives what is not finite.

    A module inside another comes first, for it is done first.
    """
    modules = [module for _, module in network.modules()]
    for module in modules:
        module.forward = _watching(module, found)  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        for module in modules:
            del module.forward


def _watching(module: Module, found: list[str]) -> Callable[[Tensor], Tensor]:
    forward = module.forward

    def watching(x: Tensor) -> Tensor:
        y = forward(x)
        if not np.isfinite(y.data).all():
            found.append(module.path)
        return y

    return watching


def first_gradient(network: Module) -> str:
    """Path of the first gradient that is not finite, in the order of the backward pass.

    Returns
    -------
    str
        ``""`` if all are finite.
    """
    for path, parameter in reversed(network.parameters().items()):
        if parameter.grad is not None and not np.isfinite(parameter.grad).all():
            return path
    return ""
