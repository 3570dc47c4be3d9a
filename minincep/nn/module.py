"""`Module`: a layer, or a network of layers, that knows its weights by name.

The path of a weight is its attribute path, and its path in a weights file:

    network.mixed_5b.branch_1.conv2d_0b_3x3.weight   <->   mixed_5b/branch_1/conv2d_0b_3x3/weight

A module holds parameters (trained), plain arrays (kept, not trained: running statistics) and other
modules as attributes.  The walk takes them in the order of definition, and does nothing more.  A
module whose attribute starts with an underscore adds no level to the path.
"""

import contextlib
from collections.abc import Collection, Iterator
from contextvars import ContextVar
from typing import Any, Self

import numpy as np

from minincep.autograd.op import layer
from minincep.autograd.tensor import Tensor
from minincep_kernels import Array
from minincep_kernels.buffers import keep_memory


class Parameter(Tensor):
    """A tensor that is trained."""

    def __init__(self, data: Array) -> None:
        super().__init__(data, requires_grad=True)


class Module:
    """Something that turns a tensor into another.

    Attributes
    ----------
    channels
        Length of the last axis of what comes out.
    endpoint
        Name under which `endpoints` finds what comes out, ``""`` for none.
    path
        Where this module is in its network; set by `place`.
    training
        Whether batch statistics are used and dropout drops; set by `train` and `eval`.
    """

    channels: int
    endpoint: str = ""
    path: str = ""
    training: bool = False

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def __call__(self, x: Tensor) -> Tensor:
        try:
            with layer(self.path):
                y = self.forward(x)
        except (TypeError, ValueError) as error:
            # An op has said where it was; so has a module inside.
            if self.path and not getattr(error, "__notes__", ()):
                error.add_note(f"in layer {self.path}")
            raise
        if self.endpoint:
            report(self.endpoint, y)
        return y

    def children(self) -> Iterator[tuple[str, "Module"]]:
        """(attribute name, module) of the modules directly inside."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def modules(self, path: str = "") -> Iterator[tuple[str, "Module"]]:
        """(path, module) of this module and all inside it, in the order of definition."""
        yield path, self
        for name, module in self.children():
            yield from module.modules(path if name.startswith("_") else _join(path, name))

    def slots(self) -> Iterator[tuple[str, "Module", str]]:
        """(path, module, attribute name) of each parameter and each kept array.

        Raises
        ------
        ValueError
            If two have one path.
        """
        seen: set[str] = set()
        for path, module in self.modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter | np.ndarray):
                    full = _join(path, name)
                    if full in seen:
                        raise ValueError(
                            f"two arrays are called {full!r}: rename one of the layers"
                        )
                    seen.add(full)
                    yield full, module, name

    def arrays(self) -> dict[str, Array]:
        """All weights and kept arrays by path.  They are the ones in use, not copies."""
        found = {}
        for path, module, name in self.slots():
            value = getattr(module, name)
            found[path] = value.data if isinstance(value, Parameter) else value
        return found

    def parameters(self) -> dict[str, Parameter]:
        """All that is trained, by path."""
        return {
            path: value
            for path, module, name in self.slots()
            if isinstance(value := getattr(module, name), Parameter)
        }

    def assign_all(self, arrays: dict[str, Array]) -> None:
        """Put arrays in the place of those at their paths; all others stay."""
        for path, module, name in self.slots():
            if path in arrays:
                _put(module, name, arrays[path])

    def astype(self, dtype: Any) -> Self:
        """Convert all arrays in place, to float64 for a gradient check."""
        self.assign_all({path: array.astype(dtype) for path, array in self.arrays().items()})
        return self

    def place(self) -> Self:
        """Tell each module inside its path, for error messages and profiles."""
        for path, module in self.modules():
            module.path = path
        return self

    def train(self, mode: bool = True) -> Self:
        """Set training mode for this module and all inside it."""
        if mode:
            keep_memory()
        for _, module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Set inference mode: running statistics, no dropout."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for _, module in self.modules():
            for value in vars(module).values():
                if isinstance(value, Parameter):
                    value.grad = None


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _put(module: Module, name: str, array: Array) -> None:
    value = getattr(module, name)
    if isinstance(value, Parameter):
        value.data = array
    else:
        setattr(module, name, array)


# End points that somebody is waiting for, and what has come of them so far.
_wanted: ContextVar[Collection[str]] = ContextVar("wanted", default=())
_found: ContextVar[dict[str, Tensor] | None] = ContextVar("found", default=None)


@contextlib.contextmanager
def endpoints(names: Collection[str]) -> Iterator[dict[str, Tensor]]:
    """Collect what comes out of the named modules within the `with` block."""
    found: dict[str, Tensor] = {}
    tokens = _wanted.set(names), _found.set(found)
    try:
        yield found
    finally:
        _wanted.reset(tokens[0])
        _found.reset(tokens[1])


def wanted(name: str) -> bool:
    """Whether somebody is waiting for this end point."""
    return name in _wanted.get()


def report(name: str, value: Tensor) -> None:
    """Hand over an end point, if it is wanted."""
    found = _found.get()
    if found is not None and wanted(name):
        found[name] = value
