"""Less memory for more time: run a part of a network again instead of keeping what it made.

A tape keeps what each rule needs until the backward pass reaches it: in a training step that is
nearly all of the memory.  `recompute` records a function as one node that keeps its input only;
when the gradient arrives, it runs the function once more, this time with a tape, and reads that at
once.  So only one such part has a tape at a time, for one more forward pass.

Chen et al. 2016, "Training deep nets with sublinear memory cost", arXiv:1604.06174, section 4.

The second run must do what the first did.  What may happen once only, or would come out differently
(moving running statistics, drawing a mask), goes through `once`, which remembers.
"""

import contextvars
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

from minincep.autograd.op import is_recording, no_grad
from minincep.autograd.tensor import Node, Tensor
from minincep_kernels import Array

Value = TypeVar("Value")
Function = Callable[[Tensor], Tensor]


class _Memory:
    """What `once` has worked out in a first run, in order; the second run reads it off.

    Attributes
    ----------
    outer
        Where a first run itself takes its values from, if it is inside of another function that is
        run again.
    """

    def __init__(self, outer: "_Memory | None") -> None:
        self.outer = outer
        self.values: list[Any] = []
        self.rest: Iterator[Any] | None = None

    def again(self) -> "_Memory":
        """The same for one more run."""
        memory = _Memory(None)
        memory.rest = iter(self.values)
        return memory

    def value(self, work_out: Callable[[], Value]) -> Value:
        if self.rest is not None:
            remembered: Value = next(self.rest)
            return remembered
        value = work_out() if self.outer is None else self.outer.value(work_out)
        self.values.append(value)
        return value


_memory: ContextVar[_Memory | None] = ContextVar("memory", default=None)


def once(work_out: Callable[[], Value]) -> Value:
    """What a function gives; within `recompute` it is called in the first run only."""
    memory = _memory.get()
    return work_out() if memory is None else memory.value(work_out)


def recompute(function: Function, x: Tensor, parameters: Iterable[Tensor] = ()) -> Tensor:
    """function(x), of which the tape keeps x alone; the gradients are the same to the last bit.

    Parameters
    ----------
    function
        From a tensor to a tensor, the same at each call but for what goes through `once`.
    parameters
        All other tensors in it that may want a gradient.

    Raises
    ------
    RuntimeError
        In the backward pass, if a parameter has got another array since.
    """
    wanting = [p for p in parameters if p.requires_grad]
    if not is_recording() or not (x.requires_grad or wanting):
        return function(x)
    memory = _Memory(_memory.get())
    context = contextvars.copy_context()  # as it is now: also which kernels are forced
    token = _memory.set(memory)
    try:
        with no_grad():
            result = function(x)
    finally:
        _memory.reset(token)
    output = Tensor(result.data, requires_grad=True)
    # The arrays of the parameters are among the residuals so that nobody changes them meanwhile.
    residuals = (x.data, [p.data for p in wanting])
    rule = _Rule(function, wanting, memory, context)
    output.node = Node(rule, [x], {}, residuals, "")
    return output


class _Rule:
    """The rule of a function that is run again."""

    name = "recompute"

    def __init__(
        self,
        function: Function,
        parameters: list[Tensor],
        memory: _Memory,
        context: contextvars.Context,
    ) -> None:
        self.function = function
        self.parameters = parameters
        self.memory = memory
        self.context = context

    def gradients(
        self, residuals: Any, gy: Array, needs: tuple[bool, ...], static: Mapping[str, Any]
    ) -> tuple[Array | None, ...]:
        data, arrays = residuals
        for parameter, array in zip(self.parameters, arrays, strict=True):
            if parameter.data is not array:
                raise RuntimeError(
                    "a weight has got another array between the forward and the backward pass of "
                    "layers that are recomputed: call backward first"
                )
        x = Tensor(data, requires_grad=needs[0])
        self.context.copy().run(self._run, x, gy)
        gradient, x.grad = x.grad, None  # so that nobody else holds it
        return (gradient,)

    def _run(self, x: Tensor, gy: Array) -> None:
        _memory.set(self.memory.again())
        self.function(x).backward(gy)
