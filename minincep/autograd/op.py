"""`@op` makes an op from two functions over arrays: forward, and the rule for its gradients.

    @op
    def scale(x, *, factor):
        "x times a constant.  Any shape -> same shape."
        return x * factor, ()                    # result, residuals

    @scale.vjp
    def _(residuals, gy, needs, *, factor):
        return (gy * factor,)                    # one gradient for each array of the forward

Arrays are positional, everything static is keyword-only.  The residuals are all that the rule may
use, named where they arise.  `needs` says which gradients are wanted; the rule gives None for the
others.  (vjp: vector-Jacobian product, the gradient of the result times the op's Jacobian.)

The engine does the rest: it checks the types of numbers, records nodes, undoes broadcasting and
adds gradients up.  Ops never do.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import numpy as np

from minincep.autograd.tensor import Node, Tensor
from minincep_kernels import Array
from minincep_kernels.errors import DTypeError

_recording: ContextVar[bool] = ContextVar("recording", default=True)
_layer: ContextVar[str] = ContextVar("layer", default="")


class Op:
    """A differentiable function of tensors.

    Calling it with tensors (or arrays, which are constants, or None for an input that is absent)
    gives a tensor, and leaves a node on the tape when one of the inputs requires a gradient.

    Raises
    ------
    DTypeError
        If an input is no array, or the inputs mix float32 and float64.
    """

    name: str

    def __init__(self, forward: Callable[..., tuple[Array, Any]]) -> None:
        self.name = forward.__name__
        self._forward = forward
        self._vjp: Callable[..., tuple[Array | None, ...]] | None = None
        functools.update_wrapper(self, forward)

    def vjp(self, rule: Callable[..., tuple[Array | None, ...]]) -> None:
        """Decorator that gives the op its rule: (residuals, gy, needs, **static) -> gradients."""
        self._vjp = rule

    def __call__(self, *inputs: Tensor | Array | None, **static: Any) -> Tensor:
        arrays = [x.data if isinstance(x, Tensor) else x for x in inputs]
        path = _layer.get()
        try:
            self._check_dtypes(arrays)
            result, residuals = self._forward(*arrays, **static)
        except (TypeError, ValueError) as error:
            if path:
                error.add_note(f"in layer {path}")
            raise
        tensors = tuple(x if isinstance(x, Tensor) else None for x in inputs)
        output = Tensor(np.asarray(result))  # a product of arrays without axes is a number
        if _recording.get() and any(x is not None and x.requires_grad for x in tensors):
            output.requires_grad = True
            output.node = Node(self, tensors, static, residuals, path)
        return output

    def gradients(
        self, residuals: Any, gy: Array, needs: tuple[bool, ...], static: Mapping[str, Any]
    ) -> tuple[Array | None, ...]:
        """Gradients of the inputs, given that of the result; what the tape calls."""
        if self._vjp is None:
            raise RuntimeError(f"op {self.name} has no backward rule")
        return self._vjp(residuals, gy, needs, **static)

    def _check_dtypes(self, arrays: list[Array | None]) -> None:
        for x in arrays:
            if x is not None and not isinstance(x, np.ndarray):
                raise DTypeError(
                    f"{self.name} takes tensors and arrays, got {type(x).__name__}: convert it "
                    "with numpy.asarray(x, dtype=numpy.float32)"
                )
        # Whole numbers and truth values are labels and masks; the op that wants them checks them.
        kinds = {str(x.dtype) for x in arrays if x is not None and x.dtype.kind not in "iub"}
        if len(kinds) > 1 or not kinds <= {"float32", "float64"}:
            raise DTypeError(
                f"{self.name}: all inputs must be float32 or all float64, got "
                f"{' and '.join(sorted(kinds))}: convert them with astype"
            )

    def __repr__(self) -> str:
        return f"<op {self.name}>"


def op(forward: Callable[..., tuple[Array, Any]]) -> Op:
    """Decorator: (arrays, *, static) -> (result, residuals) becomes an op."""
    return Op(forward)


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Within the `with` block nothing is recorded: less memory, and no backward."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


@contextlib.contextmanager
def layer(path: str) -> Iterator[None]:
    """Within the `with` block nodes and errors carry this layer path."""
    token = _layer.set(path)
    try:
        yield
    finally:
        _layer.reset(token)


def constant(values: float | Array, like: Tensor) -> Tensor:
    """A number or an array as a tensor of the same dtype as another."""
    return Tensor(np.asarray(values, like.dtype))
