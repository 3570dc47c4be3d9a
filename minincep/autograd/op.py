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

An op whose result has not the shape of its first input says so, without working anything out:

    @matmul.shape
    def _(a, b):                                 # called as the forward is; raises as it does
        return a.shape[0], b.shape[1]

While somebody listens (`tracing`), ops do only that: the listener hears what is called with what,
and the results are placeholders, which have a shape and no numbers of their own.

An op that does the work of several at once, to save passes over memory, says what they are.  A
listener hears of them instead:

    @batch_norm_relu.parts
    def _(*inputs, **static):
        return relu(batch_norm(*inputs, **static))

The engine does the rest: it checks the types of numbers, records nodes, undoes broadcasting and
adds gradients up.  Ops never do.  What it checks, it reads from the signature of the forward: an
input may be None if it is annotated `Array | None`, a static argument annotated `float` must be a
number.  Inputs are float32 or float64, all the same; one that is not is declared:

    @op(labels=int)                              # whole numbers; bool: truth values
"""

import contextlib
import functools
import inspect
import numbers
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from types import NoneType
from typing import Any, Protocol, get_args, overload

import numpy as np

from minincep.autograd.tensor import Node, Share, Tensor, kind_of
from minincep_kernels import Array
from minincep_kernels.errors import DTypeError

Forward = Callable[..., tuple[Array, Any]]

FLOATS = {np.dtype(np.float32), np.dtype(np.float64)}
WHOLE = {int: ("iu", "whole numbers"), bool: ("b", "truth values")}

_recording: ContextVar[bool] = ContextVar("recording", default=True)
_layer: ContextVar[str] = ContextVar("layer", default="")
_tracer: ContextVar["Tracer | None"] = ContextVar("tracer", default=None)


class Op:
    """A differentiable function of tensors.

    Calling it with tensors (or arrays, which are constants, or None for an input that is absent)
    gives a tensor, and leaves a node on the tape when one of the inputs requires a gradient.

    Raises
    ------
    DTypeError
        If an input is not what the op takes, the inputs mix float32 and float64, or a static
        argument that must be a number is none.
    """

    name: str

    def __init__(self, forward: Forward, whole: Mapping[str, type] | None = None) -> None:
        self.name = forward.__name__
        self._forward = forward
        self._signature = inspect.signature(forward, eval_str=True)
        self._whole = whole or {}
        inputs = [p for p in self._signature.parameters.values() if p.kind is not p.KEYWORD_ONLY]
        static = [p for p in self._signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
        self._inputs = [(p.name, NoneType in get_args(p.annotation)) for p in inputs]
        self._any_number = any(p.kind is p.VAR_POSITIONAL for p in inputs)
        self._absent = () if self._any_number else tuple(p.default for p in inputs)
        self._least = sum(default is inspect.Parameter.empty for default in self._absent)
        self._settings = {p.name for p in static}
        self._defaults = {p.name: p.default for p in static if p.default is not p.empty}
        self._numbers = [p.name for p in static if p.annotation is float]
        self._vjp: Callable[..., tuple[Share, ...]] | None = None
        self._shape: Callable[..., tuple[int, ...]] = _shape_of_first
        self._parts: Callable[..., Tensor] | None = None
        functools.update_wrapper(self, forward)

    def vjp(self, rule: Callable[..., tuple[Share, ...]]) -> None:
        """Decorator that gives the op its rule: (residuals, gy, needs, **static) -> gradients."""
        self._vjp = rule

    def shape(self, rule: Callable[..., tuple[int, ...]]) -> None:
        """Decorator that gives the op the shape of its result: (arrays, **static) -> shape.

        The rule looks at the shapes of the arrays only, and raises what the forward would.
        """
        self._shape = rule

    def parts(self, rule: Callable[..., Tensor]) -> None:
        """Decorator that gives the op what it is made of: (inputs, **static) -> result, by ops."""
        self._parts = rule

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the array inputs, in order."""
        return tuple(name for name, _ in self._inputs)

    def __call__(self, *inputs: Tensor | Array | None, **static: Any) -> Tensor:
        path, tracer = _layer.get(), _tracer.get()
        try:
            inputs, static = self._checked(inputs, static)
            arrays = [x.data if isinstance(x, Tensor) else x for x in inputs]
            if tracer is None:
                result, residuals = self._forward(*arrays, **static)
            else:
                shape = self._shape(*arrays, **static)
                if self._parts is None:
                    output = placeholder(shape, next(x.dtype for x in arrays if x is not None))
                    tracer.record(self, inputs, static, path, output)
                    return output
        except (TypeError, ValueError) as error:
            if path:
                error.add_note(f"in layer {path}")
            raise
        if tracer is not None and self._parts is not None:
            return self._parts(*inputs, **static)
        output = Tensor(np.asarray(result))  # a product of arrays without axes is a number
        if _recording.get() and any(isinstance(x, Tensor) and x.requires_grad for x in inputs):
            output.requires_grad = True
            output.node = Node(self, inputs, static, residuals, path)
        return output

    def gradients(
        self, residuals: Any, gy: Array, needs: tuple[bool, ...], static: Mapping[str, Any]
    ) -> tuple[Share, ...]:
        """Gradients of the inputs, given that of the result; what the tape calls."""
        if self._vjp is None:
            raise RuntimeError(f"op {self.name} has no backward rule")
        return self._vjp(residuals, gy, needs, **static)

    def _checked(
        self, inputs: tuple[Any, ...], static: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """All inputs and all static arguments, with defaults, each of a type that the op takes."""
        inputs, static = self._bound(inputs, static)
        kinds = set()
        for index, x in enumerate(inputs):
            name, optional = self._inputs[min(index, len(self._inputs) - 1)]
            if name in self._whole:
                self._check_whole(name, x)
            elif isinstance(x, Tensor | np.ndarray) and x.dtype in FLOATS:
                kinds.add(x.dtype)
            elif x is not None or not optional:
                wanted = "a Tensor or an array of float32 or float64"
                raise self._mistake(self._name_of(index), x, wanted, "numpy.float32")
        if len(kinds) > 1:
            raise self._mixture(inputs)
        for name in self._numbers:
            self._check_number(name, static[name])
        return inputs, static

    def _bound(
        self, inputs: tuple[Any, ...], static: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """All arguments, with defaults: what `inspect.signature` does, in a tenth of the time."""
        settings = {**self._defaults, **static}
        fits = self._any_number or self._least <= len(inputs) <= len(self._inputs)
        if fits and settings.keys() == self._settings:
            return (*inputs, *self._absent[len(inputs) :]), settings
        try:  # somebody names an input, or makes a mistake
            call = self._signature.bind(*inputs, **static)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from None
        call.apply_defaults()
        return call.args, call.kwargs

    def _name_of(self, index: int) -> str:
        """The name of an input, for messages."""
        repeated = index - len(self._inputs) + 1
        if self._any_number and repeated >= 0:
            return f"{self._inputs[-1][0]}[{repeated}]"
        return self._inputs[index][0]

    def _mixture(self, inputs: tuple[Any, ...]) -> DTypeError:
        got = ", ".join(
            f"{self._name_of(index)} {x.dtype}"
            for index, x in enumerate(inputs)
            if x is not None and self._name_of(index) not in self._whole
        )
        return DTypeError(
            f"{self.name}: all inputs must be float32 or all float64, got {got}: "
            "convert them with astype"
        )

    def _check_whole(self, name: str, x: object) -> None:
        wanted = self._whole[name]
        kinds, words = WHOLE[wanted]
        if not isinstance(x, np.ndarray) or x.dtype.kind not in kinds:
            raise self._mistake(name, x, f"an array of {words}", wanted.__name__)

    def _check_number(self, name: str, x: object) -> None:
        if type(x) is not float and (not isinstance(x, numbers.Real) or isinstance(x, bool)):
            raise DTypeError(f"{self.name}: {name} must be a number, got {kind_of(x)}")

    def _mistake(self, name: str, x: object, wanted: str, dtype: str) -> DTypeError:
        advice = "" if x is None else f": convert it with numpy.asarray({name}, dtype={dtype})"
        return DTypeError(f"{self.name}: {name} must be {wanted}, got {kind_of(x)}{advice}")

    def __repr__(self) -> str:
        return f"<op {self.name}>"


def _shape_of_first(x: Array, *_: Array | None, **static: Any) -> tuple[int, ...]:
    return x.shape


@overload
def op(forward: Forward, /) -> Op: ...
@overload
def op(**whole: type) -> Callable[[Forward], Op]: ...
def op(forward: Forward | None = None, /, **whole: type) -> Op | Callable[[Forward], Op]:
    """Decorator: (arrays, *, static) -> (result, residuals) becomes an op.

    Parameters
    ----------
    whole
        The inputs that are not floats: `int` for whole numbers, `bool` for truth values.
    """
    return functools.partial(Op, whole=whole) if forward is None else Op(forward)


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Within the `with` block nothing is recorded: less memory, and no backward."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


def is_recording() -> bool:
    """Whether ops leave nodes: not under `no_grad`, and not while somebody traces."""
    return _recording.get() and _tracer.get() is None


@contextlib.contextmanager
def layer(path: str) -> Iterator[None]:
    """Within the `with` block nodes and errors carry this layer path."""
    token = _layer.set(path)
    try:
        yield
    finally:
        _layer.reset(token)


class Tracer(Protocol):
    """Who listens to a trace."""

    def record(
        self,
        op: Op,
        inputs: tuple[Any, ...],
        static: Mapping[str, Any],
        path: str,
        output: Tensor,
    ) -> None:
        """Hear of a call: the op, all its inputs and static arguments, the layer, the result."""


@contextlib.contextmanager
def tracing(tracer: Tracer) -> Iterator[None]:
    """Within the `with` block ops compute nothing: they tell the tracer, and give placeholders."""
    token = _tracer.set(tracer)
    try:
        yield
    finally:
        _tracer.reset(token)


def placeholder(shape: tuple[int, ...], dtype: Any) -> Tensor:
    """A tensor of a shape without numbers of its own: one zero, read-only, seen everywhere."""
    return Tensor(np.broadcast_to(np.zeros((), dtype), shape))
